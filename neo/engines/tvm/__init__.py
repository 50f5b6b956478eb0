"""TVM: ONNX -> Relax (importer) -> layouts (layout) -> loops (schedules) -> a shared library (link) and weights."""

"""ONNX -> Relax: TVM's importer with converters of ours, and which nodes it does not get."""

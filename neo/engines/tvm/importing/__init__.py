"""ONNX -> Relax: what TVM's importer is given, replaced, or kept from."""

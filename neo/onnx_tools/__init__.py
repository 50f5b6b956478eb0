"""ONNX models as everybody here handles them: one walk over graphs inside graphs, one way to load and to save."""

"""ONNX's own conformance cases through our engines, beside ONNX Runtime: ``python -m benchmarks.conformance``."""

"""ONNX Runtime: any model it can run is never refused."""

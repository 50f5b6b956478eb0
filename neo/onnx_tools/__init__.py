"""The one way to load, save and walk ONNX models, subgraphs included, and to run passes over them."""

"""One small network as ONNX files of many kinds: see tests/onnx_digits.py, which makes it."""

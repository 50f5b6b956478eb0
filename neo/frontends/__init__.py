"""Framework files in, ONNX out: one module per framework, each run in a sandboxed subprocess."""

FRONTENDS = {
    "pytorch": "neo.frontends.pytorch:convert",
    "keras": "neo.frontends.keras:convert",
    "tensorflow": "neo.frontends.tensorflow:convert",
    "mxnet": "neo.frontends.mxnet:convert",
    "onnx": "neo.frontends.onnx:convert",
}

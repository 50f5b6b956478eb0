"""Framework files in, ONNX out: one module per framework, each run in a sandboxed subprocess."""

FRONTENDS = {
    "pytorch": "neo.frontends.pytorch:convert",
    "transformers": "neo.frontends.huggingface:convert",
    "keras": "neo.frontends.keras:convert",
    "tensorflow": "neo.frontends.tensorflow:convert",
    "mxnet": "neo.frontends.mxnet:convert",
    "chainer": "neo.frontends.chainer:convert",
    "onnx": "neo.frontends.onnx:convert",
    "sklearn": "neo.frontends.sklearn:convert",
    "xgboost": "neo.frontends.xgboost:convert",
    "lightgbm": "neo.frontends.lightgbm:convert",
}

"""(ONNX, Target) -> engine folder; one package per engine. What they write, ``neo.runtime`` opens."""

# engine -> its build function; in the order they are tried
ENGINES = {
    "onnxruntime": "neo.engines.onnxruntime.build:build",
    "tvm": "neo.engines.tvm.build:build",
}

"""The tvm engine: ONNX -> Relax (importing) -> layouts (layout) -> machine code (cpu) -> a library and weights."""

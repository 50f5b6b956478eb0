"""(ONNX, Target) -> engine folder; one package per engine. What they write, ``neo.runtime`` opens."""

from dataclasses import dataclass

from neo.contract.precision import BF16, FP32, Precision


@dataclass(frozen=True, slots=True)
class Recipe:
    """build, finish: each a "module:function". build: runs confined, without network. finish: after it in the caller;
    may download. precisions: those that it can build. tunes: the build searches configurations
    for BuildRequest.tune_s seconds.
    """

    build: str
    finish: str | None = None
    precisions: tuple[Precision, ...] = (FP32,)
    tunes: bool = False


# in the order they are tried
ENGINES = {
    "onnxruntime": Recipe("neo.engines.onnxruntime.build:build"),
    "tvm": Recipe(
        "neo.engines.tvm.build:build",
        finish="neo.engines.tvm.cpu.codegen.runtime_library:add_runtime_library",
        precisions=(FP32, BF16),
        tunes=True,
    ),
}

"""(ONNX, Target) -> engine folder; one package per engine. What they write, ``neo.runtime`` opens."""

from dataclasses import dataclass

from neo.contract.device import Target
from neo.contract.precision import BF16, FP32, Precision


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an engine is built, and for which targets."""

    #: "module:function"; runs confined, without network
    build: str
    #: "module:function"; runs after it in the caller, and may download
    finish: str | None = None
    #: those that it can build
    precisions: tuple[Precision, ...] = (FP32,)
    #: whether the build searches configurations for BuildRequest.tune_s seconds
    tunes: bool = False
    #: processors that it has code for, as `uname -m` prints them
    archs: tuple[str, ...] = ("x86_64", "aarch64")
    #: what the build needs beyond what opens the engine, for ``neo doctor``
    distributions: tuple[str, ...] = ()


# in the order they are tried
ENGINES = {
    "onnxruntime": Recipe("neo.engines.onnxruntime.build:build"),
    "tvm": Recipe(
        "neo.engines.tvm.build:build",
        finish="neo.engines.tvm.cpu.codegen.runtime_library:add_runtime_library",
        precisions=(FP32, BF16),
        tunes=True,
        distributions=("apache-tvm", "ziglang"),
    ),
}


def engines_for(target: Target) -> tuple[str, ...]:
    """Keys of ENGINES: all that have code for the target's processor, less those that the target leaves out."""
    return tuple(
        name
        for name, recipe in ENGINES.items()
        if target.cpu.arch in recipe.archs and (target.engines is None or name in target.engines)
    )

"""What every tunable family of schedules makes of some kernels, by hashes of their TensorIR, to be held against a file.

``python -m tests.engines.schedule_versions`` writes the file. It refuses to where a family makes something else of the
same kernel and its version in ``neo/engines/tvm/cpu/units/configuration.py`` is what it was.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import tvm
import tvm_ffi
from onnx import helper

from neo.engines.tvm.cpu.lowering.graph import lower_graph
from neo.engines.tvm.cpu.schedules import configurations_of, family_of, schedule_by
from neo.engines.tvm.cpu.schedules.packing import packable_weights
from neo.engines.tvm.cpu.tuning.signature import signature
from neo.engines.tvm.cpu.units.bfloat16 import unit_of
from neo.engines.tvm.cpu.units.configuration import VERSIONS
from neo.engines.tvm.cpu.units.llvm import llvm_target
from neo.targets import load_target
from tests.engines.conftest import imported
from tests.models import build

FILE = Path(__file__).with_suffix(".json")
TARGETS = ("x86-64-v2", "x86-64-v3", "x86-64-v4", "raspberry-pi-4", "x86-64-v4-bf16")
# of each kernel: the one that it gets unmeasured, and some more
CONFIGURATIONS = 4


@dataclass(frozen=True, slots=True)
class Kernel:
    """before, after: hashes, without names: of the function, and of what each configuration makes of it."""

    family: str
    version: int
    before: str
    after: tuple[str, ...]


def _convolutions() -> onnx.ModelProto:
    """A first layer, one depthwise with a stride and one without, of single pixels, in groups, and poolings."""
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["ra"]),
        helper.make_node("Conv", ["ra", "depthwise"], ["b"], pads=[1, 1, 1, 1], group=32),
        helper.make_node("Conv", ["b", "pointwise"], ["c"]),
        helper.make_node("HardSwish", ["c"], ["hc"]),
        helper.make_node("Conv", ["hc", "strided"], ["d"], pads=[2, 2, 2, 2], strides=[2, 2], group=96),
        helper.make_node("Conv", ["d", "groups"], ["e"], pads=[1, 1, 1, 1], group=4),
        helper.make_node("MaxPool", ["e"], ["p"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["p"], ["y"]),
    ]
    return build(
        nodes,
        {"x": (1, 3, 64, 64)},
        {"y": (1, 96, 1, 1)},
        {
            "first": _ones(32, 3, 3, 3),
            "depthwise": _ones(32, 1, 3, 3),
            "pointwise": _ones(96, 32, 1, 1),
            "strided": _ones(96, 1, 5, 5),
            "groups": _ones(96, 24, 3, 3),
        },
    )


def _products() -> onnx.ModelProto:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Add", ["a", "b"], ["s"]),
        helper.make_node("MatMul", ["s", "x"], ["y"]),
    ]
    weights = {"w": _ones(96, 256), "b": _ones(256)}
    return build(nodes, {"x": (1, 256, 96)}, {"y": (1, 256, 96)}, weights)


def _winograd() -> onnx.ModelProto:
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    return build([node], {"x": (1, 64, 56, 56)}, {"y": (1, 64, 56, 56)}, {"w": _ones(64, 64, 3, 3)})


MODELS = {"convolutions": _convolutions, "products": _products, "winograd": _winograd}


def _ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def current() -> dict[str, Kernel]:
    """By target, model and function."""
    return {name: kernel for target in TARGETS for model in MODELS for name, kernel in _kernels(target, model)}


def _kernels(target_name: str, model_name: str) -> Iterator[tuple[str, Kernel]]:
    target, model = load_target(target_name), MODELS[model_name]()
    unit = unit_of(target) if target_name.endswith("bf16") else None
    module, _ = lower_graph(imported(model, target), target, llvm_target(target), unit)
    uses = packable_weights(module)
    for variable, function in module.functions.items():
        if not isinstance(function, tvm.tirx.PrimFunc):
            continue
        weights = frozenset(uses.get(variable.name_hint, ()))
        family = family_of(function, target, weights)
        if not family:
            continue
        after = []
        for configuration in configurations_of(function, target, weights)[:CONFIGURATIONS]:
            found = schedule_by(configuration, function, target, weights)
            assert found is not None  # it is among those that fit
            facts = f"{tvm_ffi.structural_hash(found[0])} {sorted(found[1].items())}"
            after.append(facts)
        name = f"{target_name} {model_name} {variable.name_hint}"
        yield name, Kernel(family, VERSIONS[family], signature(function, weights), tuple(after))


def recorded() -> tuple[str, dict[str, Kernel]]:
    """-> (the version of TVM, what ``current`` said then)"""
    data = json.loads(FILE.read_text(encoding="utf-8"))
    kernels = {
        name: Kernel(k["family"], k["version"], k["before"], tuple(k["after"])) for name, k in data["kernels"].items()
    }
    return data["tvm"], kernels


def to_be_raised(before: Mapping[str, Kernel], now: Mapping[str, Kernel]) -> dict[str, list[str]]:
    """The families that make something else of the same kernel for the same version, with the kernels."""
    found: dict[str, list[str]] = {}
    for name in before.keys() & now.keys():
        old, new = before[name], now[name]
        same = (old.family, old.version, old.before) == (new.family, new.version, new.before)
        if same and old.after != new.after:
            found.setdefault(new.family, []).append(name)
    return found


def main() -> None:
    now, tvm_version = current(), importlib.metadata.version("apache-tvm")
    if FILE.exists():
        before_version, before = recorded()
        raised = to_be_raised(before, now) if before_version == tvm_version else {}
        if raised:
            sys.exit(f"raise VERSIONS in neo/engines/tvm/cpu/units/configuration.py first: {raised}")
    kernels = {
        name: {"family": k.family, "version": k.version, "before": k.before, "after": k.after}
        for name, k in sorted(now.items())
    }
    FILE.write_text(json.dumps({"tvm": tvm_version, "kernels": kernels}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

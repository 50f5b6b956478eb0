"""What ``docs/architecture.md`` says one has to touch to extend the tvm engine is enough: every test here adds a toy by
those rows alone, and shows that the engine was another one without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from tvm import relax, te, tirx
from tvm.relax.frontend.onnx import onnx_frontend
from tvm.s_tir import Schedule

from neo.contract.device import Target
from neo.engines.tvm import backend, layout
from neo.engines.tvm.cpu import schedules
from neo.engines.tvm.cpu.backend import CpuBackend
from neo.engines.tvm.cpu.lowering import functions
from neo.engines.tvm.cpu.schedules import configurations_of
from neo.engines.tvm.cpu.schedules.loops import blocks_of
from neo.engines.tvm.cpu.schedules.packing import packable_weights
from neo.engines.tvm.cpu.units.configuration import Configuration
from neo.engines.tvm.cpu.units.tiles import Tile
from neo.engines.tvm.importing import converters, refusal
from neo.engines.tvm.planning.stages import LoweredModule, ScheduledModule
from neo.errors import EngineError
from neo.targets import load_target
from tests.engines.conftest import Run, build_engine_here, imported, lower, schedule
from tests.models import build

X = np.linspace(-2, 2, 64, dtype=np.float32).reshape(1, 64)


def one(operator: str, shape: Sequence[int] = X.shape, domain: str = "") -> onnx.ModelProto:
    """A model of one operator."""
    node = helper.make_node(operator, ["x"], ["y"], domain=domain)
    model = build([helper.make_node("Relu", ["x"], ["y"])], {"x": shape}, {"y": shape})
    model.graph.node[0].CopyFrom(node)
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, 1))
    return model


def test_the_loops_of_an_operator(run_tvm: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    model = one("Atan")
    assert np.allclose(run_tvm(model, X), np.arctan(X), atol=1e-6)

    def legalize(builder: Any, call: relax.Call) -> Any:
        return builder.call_te(lambda x: te.compute(x.shape, lambda *at: x(*at) * x(*at)), call.args[0])

    monkeypatch.setitem(functions.FUNCTIONS, "relax.atan", legalize)
    assert np.array_equal(run_tvm(model, X), X * X)


def toy_family(
    schedule: Schedule, _target: Target, _packable: frozenset[int], configuration: Configuration | None = None
) -> dict[int, int] | None:
    """Takes what has one block, and runs it a vector of a few lanes at a time."""
    blocks = blocks_of(schedule)
    if len(blocks) != 1:
        return None
    lanes = 4 if configuration is None else configuration.tile.lanes
    schedule.vectorize(schedule.split(schedule.fuse(*schedule.get_loops(blocks[0])), [None, lanes])[1])
    return {}


def toy_configurations(_schedule: Schedule, _target: Target) -> tuple[Configuration, ...]:
    return tuple(Configuration(Tile(1, 1, lanes), columns_first=True) for lanes in (4, 2))


def test_a_schedule_family(run_tvm: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    model, target = one("Atan"), load_target("x86-64-v4")
    assert "T.vectorized(T.int64(4))" not in "".join(f.script() for f in schedule(model, "x86-64-v4").values())
    monkeypatch.setattr(schedules, "FAMILIES", (toy_family, *schedules.FAMILIES))
    monkeypatch.setitem(schedules.TUNABLE, toy_family, toy_configurations)
    assert any("T.vectorized(T.int64(4))" in f.script() for f in schedule(model, "x86-64-v4").values())
    assert np.allclose(run_tvm(model, X), np.arctan(X), atol=1e-6)
    (function,) = (f for f in lower(model, "x86-64-v4").functions.values() if isinstance(f, tirx.PrimFunc))
    assert configurations_of(function, target, frozenset()) == toy_configurations(Schedule(function), target)


class QuickGelu(onnx_frontend.OnnxOpConverter):
    """x * sigmoid(1.702 x)"""

    @classmethod
    def _impl_v1(cls, bb: Any, inputs: Sequence[Any], _attr: Any, _params: Any) -> Any:
        x = bb.normalize(inputs[0])
        return relax.op.multiply(x, relax.op.sigmoid(relax.op.multiply(x, relax.const(1.702, "float32"))))


def test_an_onnx_operator(run_tvm: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    model = one("QuickGelu", domain="com.microsoft")
    with pytest.raises(EngineError, match="TVM does not know the operator"):
        run_tvm(model, X)
    monkeypatch.setitem(converters.CONVERTERS, "QuickGelu", QuickGelu)
    assert np.allclose(run_tvm(model, X), X / (1 + np.exp(-1.702 * X)), atol=1e-6)


def test_a_refusal(run_tvm: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    model = one("Softsign")
    assert np.allclose(run_tvm(model, X), X / (1 + np.abs(X)), atol=1e-6)
    monkeypatch.setitem(refusal.OPERATORS, "Softsign", "it is a toy")
    with pytest.raises(EngineError, match="it is a toy"):
        run_tvm(model, X)


def transposes(model: onnx.ModelProto) -> int:
    module = layout.choose_layouts(imported(model, load_target("x86-64-v4")))
    found = []

    def visit(value: relax.Expr) -> None:
        if isinstance(value, relax.Call) and value.op.name == "relax.permute_dims":
            found.append(value)

    relax.analysis.post_order_visit(module["main"], visit)
    return len(found)


def test_an_operator_with_its_channels_last(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (1, 16, 8, 8)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1] * 4),
        helper.make_node("Atan", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w"], ["y"], pads=[1] * 4),
    ]
    weights = np.random.default_rng(0).normal(size=(16, 16, 3, 3)).astype(np.float32)
    model = build(nodes, {"x": shape}, {"y": shape}, {"w": weights})
    without = transposes(model)
    monkeypatch.setitem(layout.operators.RULES, "atan", layout.operators.RULES["tanh"])
    assert transposes(model) == without - 2


class ToyBackend(CpuBackend):
    """A processor whose kernels are not scheduled."""

    def schedule(self, lowered: LoweredModule) -> ScheduledModule:
        left = tuple(
            variable.name_hint for variable, f in lowered.module.functions.items() if isinstance(f, tirx.PrimFunc)
        )
        assert packable_weights(lowered.module) == {}
        return ScheduledModule(lowered.module, lowered.weights, (), left, tiles=False)

    def notes(self) -> tuple[str, ...]:
        return ("compiled by a toy",)


def test_a_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = one("Sigmoid")
    assert "compiled by a toy" not in build_engine_here("tvm", model, tmp_path / "cpu").notes
    other = backend.BackendRow("no.such.module:Backend", lambda target: target.cpu.cores == 0)
    toy = backend.BackendRow(f"{__name__}:ToyBackend", lambda target: target.cpu.cores > 0)
    monkeypatch.setattr(backend, "BACKENDS", {"other": other, "toy": toy, **backend.BACKENDS})
    notes = build_engine_here("tvm", model, tmp_path / "toy").notes
    assert "compiled by a toy" in notes
    assert any("without a schedule of ours" in note for note in notes)

"""LSTM, GRU and RNN against ONNX Runtime, and what is left to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tvm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from neo.engines.tvm.cpu.lowering.blocking import Spread, choose_blocking
from neo.engines.tvm.cpu.lowering.graph import lower_graph
from neo.engines.tvm.cpu.schedules.costs import kernel_costs
from neo.engines.tvm.cpu.units.bfloat16 import unit_of
from neo.engines.tvm.cpu.units.llvm import llvm_target
from neo.engines.tvm.importing.recurrent import read_recurrence
from neo.engines.tvm.importing.refusal import Refused
from neo.engines.tvm.ir.recurrence import Recurrence
from neo.engines.tvm.tvm_private import PARALLEL_REGION
from neo.targets import load_target
from tests.engines.conftest import Check, build_engine_here, imported
from tests.models import build
from tests.thorough import times

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
ODD = st.sampled_from([1, 2, 3, 7, 15, 16, 17, 33, 48, 100])
TARGETS = ("x86-64-v2", "x86-64-v3", "x86-64-v4", "aarch64", "raspberry-pi-4")


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(0, 0.4, shape).astype(np.float32)


def recurrent_model(
    cell: str, steps: int, batch: int, inputs: int, units: int, *, start: bool = True, **attributes: Any
) -> onnx.ModelProto:
    """All outputs of one node; start: the states before the first step are inputs of the model."""
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    gates = GATES[cell] * units
    weights = {
        "w": random(directions, gates, inputs),
        "r": random(directions, gates, units),
        "b": random(directions, 2 * gates),
    }
    states = ["h", "c"] if cell == "LSTM" else ["h"]
    shape = (directions, batch, units)
    arguments = ["x", "w", "r", "b", "", *(states if start else [])]
    node = helper.make_node(cell, arguments, ["y", *(f"{s}_last" for s in states)], hidden_size=units, **attributes)
    return build(
        [node],
        {"x": (steps, batch, inputs), **(dict.fromkeys(states, shape) if start else {})},
        {"y": (steps, directions, batch, units), **{f"{state}_last": shape for state in states}},
        weights,
    )


@pytest.mark.parametrize(
    ("cell", "attributes"),
    [
        ("LSTM", {"direction": "bidirectional"}),
        ("GRU", {"linear_before_reset": 1, "direction": "reverse"}),
        ("GRU", {"linear_before_reset": 0}),
        ("RNN", {"activations": ["Relu"]}),
    ],
)
def test_a_recurrent_cell_answers_as_onnx_runtime(agrees: Check, cell: str, attributes: dict[str, Any]) -> None:
    built = agrees("tvm", recurrent_model(cell, 5, 2, 6, 21, **attributes))
    assert built.notes == ()


@pytest.mark.slow
@settings(max_examples=times(10, 100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cell=st.sampled_from(["LSTM", "GRU", "RNN"]),
    direction=st.sampled_from(["forward", "reverse", "bidirectional"]),
    steps=st.integers(1, 9),
    batch=st.sampled_from([1, 2, 3, 7, 17]),
    inputs=ODD,
    units=ODD,
    linear_before_reset=st.integers(0, 1),
    start=st.booleans(),
    clip=st.sampled_from([None, 0.5]),
    threads=st.integers(1, 3),
)
def test_recurrent_cells_of_any_shape(
    agrees: Check,
    cell: str,
    direction: str,
    steps: int,
    batch: int,
    inputs: int,
    units: int,
    linear_before_reset: int,
    start: bool,
    clip: float | None,
    threads: int,
) -> None:
    attributes: dict[str, Any] = {"direction": direction}
    if cell == "GRU":
        attributes["linear_before_reset"] = linear_before_reset
    if clip is not None:
        attributes["clip"] = clip
    agrees("tvm", recurrent_model(cell, steps, batch, inputs, units, start=start, **attributes), threads=threads)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "alpha", "beta"),
    [
        ("Affine", 0.7, 0.1),
        ("Elu", 0.3, None),
        ("HardSigmoid", 0.3, 0.4),
        ("LeakyRelu", 0.2, None),
        ("ScaledTanh", 0.8, 1.2),
        ("Softsign", None, None),
        ("ThresholdedRelu", 0.1, None),
    ],
)
def test_other_activations(agrees: Check, name: str, alpha: float | None, beta: float | None) -> None:
    attributes: dict[str, Any] = {"activations": ["Sigmoid", name, "Tanh"]}
    if alpha is not None:
        attributes["activation_alpha"] = [alpha]
    if beta is not None:
        attributes["activation_beta"] = [beta]
    agrees("tvm", recurrent_model("LSTM", 4, 7, 5, 9, **attributes))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("direction", "batch"), [("forward", 17), ("bidirectional", 1), ("bidirectional", 3)])
def test_threads_share_the_rows_of_a_batch_and_the_directions(
    agrees: Check, direction: str, batch: int, threads: int
) -> None:
    agrees("tvm", recurrent_model("LSTM", 9, batch, 20, 72, direction=direction), threads=threads)


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_every_thread_has_its_own_temporaries(tmp_path: Path, direction: str) -> None:
    functions = []

    @tvm.ir.instrument.pass_instrument
    class Watch:
        def run_after_pass(self, module: tvm.IRModule, info: Any) -> None:
            if info.name == "ours":
                functions.extend(str(function) for function in module.functions.values())

    with tvm.transform.PassContext(instruments=[Watch()]):
        model = recurrent_model("LSTM", 9, 7, 20, 72, direction=direction)
        build_engine_here("tvm", model, tmp_path, target="x86-64-v3")
    ((outside, *inside),) = (text.split(PARALLEL_REGION) for text in functions if PARALLEL_REGION in text)
    assert "alloc_local" not in outside
    assert all("alloc_local" in text for text in inside)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("cell", "attributes", "batch"),
    [("LSTM", {}, 1), ("GRU", {"direction": "reverse"}, 2), ("GRU", {"linear_before_reset": 1}, 3), ("RNN", {}, 4)],
)
def test_threads_share_the_units_of_a_long_step(
    agrees: Check, cell: str, attributes: dict[str, Any], batch: int, threads: int
) -> None:
    model = recurrent_model(cell, 5, batch, 20, 520, start=False, **attributes)
    agrees("tvm", model, threads=threads, max_rel=1e-3)


@given(
    target=st.sampled_from(TARGETS),
    cell=st.sampled_from(list(GATES)),
    units=st.integers(1, 600),
    batch=st.integers(1, 70),
    directions=st.integers(1, 2),
    reset_first=st.booleans(),
    cores=st.integers(1, 8),
)
def test_every_row_is_in_one_tile_and_every_tile_fits_the_registers(
    target: str, cell: str, units: int, batch: int, directions: int, reset_first: bool, cores: int
) -> None:
    spec = Recurrence(cell, 9, batch, units, (False, True)[:directions], (), reset_first=reset_first and cell == "GRU")
    made_for = load_target(target)
    machine = replace(made_for, cpu=replace(made_for.cpu, cores=cores))
    blocking = choose_blocking(spec, machine)
    heights = blocking.heights(batch)
    assert sum(rows * count for rows, count in heights) == batch
    assert sum(count for _, count in heights) == blocking.tiles
    for gates, group in zip(blocking.gates, spec.groups, strict=True):
        assert group % gates == 0
        for rows, _ in heights:
            sums = rows * gates * blocking.vectors
            assert sums * blocking.splits(rows, gates) < machine.cpu.vector_registers
    # a loop over one item would be no loop, and there would be no threads to run the region
    assert blocking.spread is not Spread.TILES or directions * blocking.tiles > 1
    assert blocking.spread is not Spread.BLOCKS or spec.blocks > 1
    assert cores > 1 or blocking.spread is Spread.NOTHING


def test_the_profile_counts_the_products_of_a_recurrence() -> None:
    model, target = recurrent_model("GRU", 9, 7, 20, 72, direction="bidirectional"), load_target("host")
    module, _ = lower_graph(imported(model, target), target, llvm_target(target))
    (cost,) = (cost for cost in kernel_costs(module) if cost.name.startswith("recurrence"))
    assert cost.flops == 2 * 2 * 9 * 7 * 3 * 72 * 80  # 80: whole blocks of 16


def test_in_bfloat16_the_recurrence_stays_in_float32() -> None:
    model, target = recurrent_model("LSTM", 9, 2, 32, 64), load_target("x86-64-v4-bf16")
    module, _ = lower_graph(imported(model, target), target, llvm_target(target), unit_of(target))
    dtypes = {
        name.name_hint: {str(buffer.dtype) for buffer in function.params}
        for name, function in module.functions.items()
        if isinstance(function, tvm.tirx.PrimFunc)
    }
    assert dtypes.pop("recurrence_lstm") == {"float32"}
    assert any(dtype != "float32" for found in dtypes.values() for dtype in found)


def test_a_target_with_hardly_any_registers_gets_the_smallest_tile() -> None:
    target = load_target("x86-64-v2")
    tiny = replace(target, cpu=replace(target.cpu, vector_bits=32, vector_registers=4))
    blocking = choose_blocking(Recurrence("LSTM", 9, 3, 64, (False,), ()), tiny)
    assert (blocking.gates, blocking.tiles) == ((1,), 3)


def test_one_row_is_summed_in_parts_to_keep_the_multipliers_busy() -> None:
    spec = Recurrence("GRU", 9, 1, 64, (False,), (), reset_first=True)
    blocking = choose_blocking(spec, load_target("x86-64-v4"))
    assert [blocking.splits(1, gates) for gates in blocking.gates] == [4, 8]


def test_two_layers_feed_each_other(agrees: Check) -> None:
    weights = {
        "w1": random(1, 4 * 12, 7),
        "r1": random(1, 4 * 12, 12),
        "w2": random(1, 3 * 20, 12),
        "r2": random(1, 3 * 20, 20),
        "axis": np.array([1]),
    }
    nodes = [
        helper.make_node("LSTM", ["x", "w1", "r1"], ["y1"], hidden_size=12),
        helper.make_node("Squeeze", ["y1", "axis"], ["s1"]),
        helper.make_node("GRU", ["s1", "w2", "r2"], ["", "last"], hidden_size=20),
    ]
    agrees("tvm", build(nodes, {"x": (6, 1, 7)}, {"last": (1, 1, 20)}, weights))


W, R = random(1, 48, 5), random(1, 48, 12)


@pytest.mark.parametrize(
    ("attributes", "constants", "reason"),
    [
        ({}, [None, None, R], "computed"),
        ({}, [None, W, R.astype(np.float16)], "float16"),
        ({}, [None, W, R, None, np.array([3, 2])], "sequence_lens"),
        ({}, [None, W, R, None, None, None, None, random(1, 36)], "peepholes"),
        ({"layout": 1}, [None, W, R], "layout=1"),
        ({"activations": [b"Sigmoid", b"Tanh", b"Softplus"]}, [None, W, R], "Softplus"),
        (
            {"direction": b"bidirectional", "activations": [b"Sigmoid"] * 3 + [b"Tanh"] * 3},
            [None, np.concatenate([W, W]), np.concatenate([R, R])],
            "different activations",
        ),
    ],
)
def test_what_is_not_compiled_is_refused_with_the_reason(
    attributes: dict[str, Any], constants: list[Any], reason: str
) -> None:
    given = [True] + [value is not None for value in constants[1:]]
    given[2] = True
    with pytest.raises(Refused, match=reason):
        read_recurrence("LSTM", attributes, (3, 2, 5), constants, given)


def test_lengths_that_are_the_whole_sequence_are_no_reason_to_refuse() -> None:
    constants = [None, W, R, None, np.array([3, 3])]
    assert read_recurrence("LSTM", {}, (3, 2, 5), constants, [True, True, True, False, True]).units == 12

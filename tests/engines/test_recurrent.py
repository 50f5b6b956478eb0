"""LSTM, GRU and RNN against ONNX Runtime, and what is left to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from neo.engines.tvm.recurrent import read_recurrence
from neo.engines.tvm.refusal import Refused
from tests.engines.conftest import Check
from tests.models import build

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
ODD = st.sampled_from([1, 2, 3, 7, 15, 16, 17, 33, 48])


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
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cell=st.sampled_from(["LSTM", "GRU", "RNN"]),
    direction=st.sampled_from(["forward", "reverse", "bidirectional"]),
    steps=st.integers(1, 9),
    batch=st.integers(1, 3),
    inputs=ODD,
    units=ODD,
    linear_before_reset=st.integers(0, 1),
    start=st.booleans(),
    clip=st.sampled_from([None, 0.5]),
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
) -> None:
    attributes: dict[str, Any] = {"direction": direction}
    if cell == "GRU":
        attributes["linear_before_reset"] = linear_before_reset
    if clip is not None:
        attributes["clip"] = clip
    agrees("tvm", recurrent_model(cell, steps, batch, inputs, units, start=start, **attributes))


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
    agrees("tvm", recurrent_model("LSTM", 4, 1, 5, 9, **attributes))


@pytest.mark.slow
def test_a_step_large_enough_for_several_threads(agrees: Check) -> None:
    agrees("tvm", recurrent_model("LSTM", 3, 1, 20, 520), threads=3, max_rel=1e-3)


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

"""NaN, infinities, zeros with a sign, the largest and the smallest numbers: the tvm engine answers as ONNX Runtime, and
never with a number where the model says NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from neo.contract.precision import BF16, FP32, Precision
from neo.engines.tvm.cpu.lowering.winograd import POINTS
from neo.engines.tvm.importing import refusal
from neo.engines.tvm.importing.importer import known_operators
from neo.runtime import load_engine
from neo.runtime.host import read_host
from neo.targets import HOST, load_target
from tests.engines.conftest import build_engine_here, kernels
from tests.engines.reference import reference_outputs, specs
from tests.engines.special_values import CASES, Case, differences, model_of
from tests.engines.test_recurrent import recurrent_model
from tests.models import build

TARGETS = ("x86-64-v2", "x86-64-v3", "x86-64-v4", HOST)

BUILDS = [("x86-64-v2", FP32), ("x86-64-v3", FP32), (HOST, FP32), (HOST, BF16)]
# of the transformer
TOKENS = 24
MASK = (TOKENS, TOKENS)
# of Winograd's convolutions, pixels of a side
LARGEST_TILE = max(POINTS)
# fmt: off
NOT_ASKED = frozenset([
    # in the networks below
    "Attention", "GRU", "LSTM", "RNN",
    # of whole numbers, truth values or shapes
    "And", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Constant", "ConstantOfShape", "EyeLike",
    "MatMulInteger", "MatMulInteger16", "Not", "OneHot", "Or", "Range", "Shape", "Size", "Xor",
    # that move numbers, and do not look at them
    "Concat", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Reshape",
    "Scatter", "ScatterElements", "ScatterND", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose",
    "Unsqueeze", "Upsample",
    # of which nobody says what integer becomes of NaN, or where in an image it is
    "AffineGrid", "Cast", "CastLike", "DequantizeLinear", "DynamicQuantizeLinear", "MaxRoiPool", "MaxUnpool",
    "QuantizeLinear", "RoiAlign",
    # made of others that are asked
    "Einsum", "EmbedLayerNormalization", "GroupNormalization", "RMSNormalization", "SkipLayerNormalization",
])
# fmt: on

Answers = dict[str, tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="module", params=TARGETS)
def answers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """By case: (what is right, what the engine says)."""
    if not set(load_target(request.param).cpu.features) <= set(read_host().features):
        pytest.skip(f"this machine cannot run code for {request.param}")
    folder = tmp_path_factory.mktemp("special")
    model, right = model_of(CASES)
    assert build_engine_here("tvm", model, folder / "engine", target=request.param).notes == ()
    engine = load_engine(folder / "engine" / "engine", 2)
    arrays = [case.x for case in CASES]
    engine.run(arrays)
    given = engine.run(arrays)
    engine.close()
    return {case.name: pair for case, *pair in zip(CASES, right, given, strict=True)}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_special_numbers_are_answered_as_they_should_be(answers: Answers, case: Case) -> None:
    want, got = answers[case.name]
    wrong = differences(case, want, got)
    assert not wrong.any(), list(zip(np.argwhere(wrong), want[wrong], got[wrong], strict=True))[:8]


def test_every_operator_that_the_engine_takes_is_asked_about_special_numbers() -> None:
    asked = {case.operator for case in CASES}
    taken = {name for name in known_operators() if not isinstance(refusal.OPERATORS.get(name), str)}
    assert taken - asked - NOT_ASKED == set()
    assert set(NOT_ASKED) <= taken - asked


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(0, 0.3, shape).astype(np.float32)


def convolution(x: str, y: str, weights: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node("Conv", [x, weights], [y], **attributes)


def vision() -> onnx.ModelProto:
    """The model of the report: it answered 1/3, three times, to a picture that is all NaN."""
    nodes = [
        convolution("x", "c", "k"),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["m"]),
        helper.make_node("Softmax", ["m"], ["y"]),
    ]
    return build(nodes, {"x": (1, 3, 9, 9)}, {"y": (1, 3)}, {"k": random(4, 3, 3, 3), "w": random(4, 3)})


def activated(*activation: onnx.NodeProto, stride: int = 2) -> onnx.ModelProto:
    """A convolution, what makes "a" of "c", and convolutions depthwise and of single pixels behind it."""
    nodes = [
        convolution("x", "c", "k", pads=[1, 1, 1, 1], strides=[stride, stride]),
        *activation,
        convolution("a", "d", "depthwise", pads=[1, 1, 1, 1], group=16),
        convolution("d", "e", "pointwise"),
        helper.make_node("AveragePool", ["e"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    ]
    size = 24 // stride
    weights = {
        "k": random(16, 3, 3, 3),
        "depthwise": random(16, 1, 3, 3),
        "pointwise": random(20, 16, 1, 1),
        "zero": np.zeros((), np.float32),
        "six": np.full((), 6, np.float32),
        "half": np.full((), 0.5, np.float32),
    }
    return build(nodes, {"x": (1, 3, 24, 24)}, {"y": (1, 20, size // 2, size // 2)}, weights)


def transformer() -> onnx.ModelProto:
    """Attention, normalised, and a layer with GELU as exporters write it."""
    nodes = [
        helper.make_node("LayerNormalization", ["x", "scale", "scale"], ["n"]),
        *(helper.make_node("MatMul", ["n", f"w{name}"], [f"{name}_rows"]) for name in "qkv"),
        *(helper.make_node("Reshape", [f"{name}_rows", "heads"], [f"{name}_split"]) for name in "qkv"),
        *(
            helper.make_node("Transpose", [f"{name}_split"], [name], perm=perm)
            for name, perm in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3]))
        ),
        helper.make_node("MatMul", ["q", "k"], ["s"]),
        helper.make_node("Add", ["s", "mask"], ["masked"]),
        helper.make_node("Softmax", ["masked"], ["p"]),
        helper.make_node("MatMul", ["p", "v"], ["o"]),
        helper.make_node("Transpose", ["o"], ["joined"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["joined", "rows"], ["r"]),
        helper.make_node("MatMul", ["r", "wo"], ["h"]),
        helper.make_node("Div", ["h", "root"], ["t"]),
        helper.make_node("Erf", ["t"], ["e"]),
        helper.make_node("Add", ["e", "one"], ["f"]),
        helper.make_node("Mul", ["h", "f"], ["g"]),
        helper.make_node("Mul", ["g", "half"], ["y"]),
    ]
    weights = {f"w{name}": random(64, 64) for name in "qkvo"} | {
        "scale": np.ones(64, np.float32),
        "heads": np.array([1, TOKENS, 2, 32]),
        "rows": np.array([1, TOKENS, 64]),
        "root": np.array(2**0.5, np.float32),
        "one": np.array(1, np.float32),
        "half": np.array(0.5, np.float32),
    }
    return build(nodes, {"x": (1, TOKENS, 64), "mask": MASK}, {"y": (1, TOKENS, 64)}, weights)


NETWORKS = {
    "vision": vision,
    "relu": lambda: activated(helper.make_node("Relu", ["c"], ["a"])),
    "relu6": lambda: activated(helper.make_node("Clip", ["c", "zero", "six"], ["a"])),
    "hard swish": lambda: activated(helper.make_node("HardSwish", ["c"], ["a"])),
    "swish": lambda: activated(
        helper.make_node("Sigmoid", ["c"], ["s"]),
        helper.make_node("Mul", ["c", "s"], ["a"]),
    ),
    "tanh": lambda: activated(helper.make_node("Tanh", ["c"], ["a"])),
    "leaky": lambda: activated(helper.make_node("LeakyRelu", ["c"], ["a"])),
    "transformer": transformer,
    "lstm": lambda: recurrent_model("LSTM", 5, 2, 6, 21),
    "gru": lambda: recurrent_model("GRU", 5, 2, 6, 21, linear_before_reset=1),
    "gru, reset first": lambda: recurrent_model("GRU", 5, 2, 6, 21),
    "rnn": lambda: recurrent_model("RNN", 5, 2, 6, 21, activations=["Relu"]),
}


def rectified_recurrence(model: onnx.ModelProto, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """What an RNN with Relu gives, which the reference of ONNX does not know."""
    w, r, b = (onnx.numpy_helper.to_array(tensor)[0] for tensor in model.graph.initializer)
    x, (state,) = arrays
    states = []
    for step in x:
        state = np.maximum(step @ w.T + state @ r.T + b.reshape(2, -1).sum(0), 0)
        states.append(state)
    return [np.stack(states)[:, None], state[None]]


def reference(model: onnx.ModelProto, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Of ONNX, in numpy."""
    names = [spec.name for spec in model.graph.input]
    return list(ReferenceEvaluator(model).run(None, dict(zip(names, arrays, strict=True))))


# where ONNX Runtime makes numbers of NaN
OTHER_REFERENCES = {
    "lstm": reference,
    "gru": reference,
    "gru, reset first": reference,
    "rnn": rectified_recurrence,
}


def inputs_of(shapes: Sequence[Sequence[int]]) -> Iterator[list[np.ndarray]]:
    """Normal ones in which one number is special, and one that is special throughout."""
    rng = np.random.default_rng(5)
    for number in (math.nan, math.inf, -math.inf, 1e30, 1e-40, -0.0):
        arrays = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
        flat = arrays[0].reshape(-1)
        flat[flat.size // 2] = number
        yield arrays
    if shapes[-1] == MASK:  # a row that is masked out altogether
        arrays = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
        arrays[-1][3] = -math.inf
        yield arrays
    yield [np.full(shape, math.nan, np.float32) for shape in shapes]


def runs(engine: str, precision: Precision) -> bool:
    needed = set(load_target(engine).cpu.features)
    return needed <= set(read_host().features) and precision.runs_on(load_target(engine).cpu)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("target", "precision"), BUILDS)
def test_a_network_says_nan_where_onnx_runtime_does(
    tmp_path: Path, network: str, target: str, precision: Precision
) -> None:
    if not runs(target, precision):
        pytest.skip(f"this machine cannot run {precision.name} code for {target}")
    model = NETWORKS[network]()
    assert build_engine_here("tvm", model, tmp_path, precision, target).notes == ()
    engine = load_engine(tmp_path / "engine", 2)
    answers_of = OTHER_REFERENCES.get(network, reference_outputs)
    for arrays in inputs_of([spec.shape for spec in specs(model.graph.input)]):
        with np.errstate(all="ignore"):
            wanted = answers_of(model, arrays)
        for want, got in zip(wanted, engine.run(arrays), strict=True):
            np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
            np.testing.assert_array_equal(got[np.isinf(want)], want[np.isinf(want)])
            finite = np.isfinite(want)
            largest = np.abs(want[finite]).max(initial=1e-3)
            most = 1e-4 if precision == FP32 else 0.03
            assert np.abs(got[finite] - want[finite]).max(initial=0) <= most * largest
    engine.close()


def test_winograd_spreads_what_is_not_finite_over_its_tile_and_no_further(tmp_path: Path) -> None:
    """A pixel that is NaN or infinite is never hidden, and what no tile shares with it is as it was."""
    weights = {"k": random(64, 64, 3, 3)}
    nodes = [convolution("x", "c", "k", pads=[1, 1, 1, 1]), helper.make_node("Relu", ["c"], ["y"])]
    shape = (1, 64, 28, 28)
    model = build(nodes, {"x": shape}, {"y": shape}, weights)
    assert any("winograd" in name for name in kernels(model))
    build_engine_here("tvm", model, tmp_path)
    engine = load_engine(tmp_path / "engine", 2)
    for number in (math.nan, math.inf, -math.inf):
        x = random(*shape)
        x[0, 5, 13, 14] = number
        (want,), (got,) = reference_outputs(model, [x]), engine.run([x])
        assert np.isnan(got[np.isnan(want)]).all()
        assert not np.isfinite(got[np.isinf(want)]).any()
        spread = ~np.isfinite(got)
        assert spread[..., 12:15, 13:16].all() or not math.isnan(number)
        near = np.zeros_like(spread)
        near[..., 13 - LARGEST_TILE : 14 + LARGEST_TILE, 14 - LARGEST_TILE : 15 + LARGEST_TILE] = True
        assert not spread[~near].any()
        np.testing.assert_allclose(got[~near], want[~near], rtol=1e-3, atol=1e-3)
    engine.close()


@pytest.mark.parametrize("network", ["relu", "relu6", "hard swish", "swish"])
def test_an_activation_that_keeps_nan_is_still_a_part_of_the_convolution(network: str) -> None:
    names = kernels(NETWORKS[network]())
    assert [name.split("_")[0] for name in names] == ["avg", "conv2d1", "conv2d2", "fused", "pad", "transpose"]

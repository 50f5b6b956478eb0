"""Schedules over odd shapes against ONNX Runtime: what is no convolution."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
import tvm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper
from tvm.s_tir.analysis import estimate_tir_flops

from neo.engines.tvm.cpu.schedules.costs import kernel_costs
from tests.engines.conftest import Check, lower, schedule
from tests.models import build

ODD = st.sampled_from([1, 2, 3, 5, 7, 8, 13, 16, 17, 31, 32, 48])
FEW = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


@pytest.mark.slow
@FEW
@given(rows=ODD, inner=ODD, columns=ODD, batch=st.sampled_from([0, 1, 3]))
def test_matmuls_of_any_shape(agrees: Check, rows: int, inner: int, columns: int, batch: int) -> None:
    lead = (batch,) if batch else ()
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["m", "b"], ["y"])]
    weights = {"w": random(*lead, inner, columns), "b": random(columns)}
    built = agrees("tvm", build(nodes, {"x": (*lead, rows, inner)}, {"y": (*lead, rows, columns)}, weights))
    assert built.notes == ()


@pytest.mark.parametrize("columns", [21, 98, 100, 196, 197, 441, 1000])
@pytest.mark.parametrize("target", ["x86-64-v4", "x86-64-v3", "raspberry-pi-4"])
def test_no_product_is_computed_twice(columns: int, target: str) -> None:
    """Where no vector divides the columns, more are computed, and the tiles of the result are those of the product."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["m", "b"], ["y"])]
    weights = {"w": random(64, columns), "b": random(columns)}
    model = build(nodes, {"x": (1, 48, 64)}, {"y": (1, 48, columns)}, weights)
    for before, after in operations(model, target, "matmul"):
        assert after < 1.1 * before


def operations(model: onnx.ModelProto, target: str, *kinds: str) -> list[tuple[int, int]]:
    """Of every kernel of these kinds: floating-point operations before it is scheduled, and behind that."""
    before = {cost.name: cost.flops for cost in kernel_costs(lower(model, target))}
    scheduled = schedule(model, target)
    counted = {name: int(estimate_tir_flops(tvm.IRModule({"main": scheduled[name]}))) for name in before}
    return [(before[name], counted[name]) for name in before if any(kind in name for kind in kinds)]


@pytest.mark.slow
@settings(FEW, max_examples=40)
@given(
    channels=st.sampled_from([1, 3, 16, 21]),
    before=st.tuples(st.integers(1, 13), st.integers(1, 13)),
    after=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    mode=st.sampled_from(["nearest", "linear", "cubic"]),
    place=st.sampled_from(["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]),
    rounding=st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]),
    exclude=st.booleans(),
    convolved=st.booleans(),
)
def test_images_in_any_other_size(
    agrees: Check,
    channels: int,
    before: tuple[int, int],
    after: tuple[int, int],
    mode: str,
    place: str,
    rounding: str,
    exclude: bool,
    convolved: bool,
) -> None:
    """convolved: so that channels are last."""
    attributes = {"mode": mode, "coordinate_transformation_mode": place, "nearest_mode": rounding}
    nodes = [
        helper.make_node(
            "Resize", ["x", "", "", "sizes"], ["r"], exclude_outside=int(exclude and mode == "cubic"), **attributes
        )
    ]
    nodes.append(helper.make_node("Conv", ["r", "w"], ["y"]) if convolved else helper.make_node("Relu", ["r"], ["y"]))
    weights = {"sizes": np.array([1, channels, *after])} | (
        {"w": random(channels, channels, 1, 1)} if convolved else {}
    )
    model = build(nodes, {"x": (1, channels, *before)}, {"y": (1, channels, *after)}, weights)
    assert agrees("tvm", model).notes == ()


@pytest.mark.slow
@FEW
@given(
    channels=ODD,
    size=st.tuples(st.integers(4, 17), st.integers(4, 17)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.integers(1, 3),
    pads=st.tuples(*[st.integers(0, 3)] * 4),
    batch=st.sampled_from([1, 2]),
    operator=st.sampled_from(["Max", "Max rounded up", "Average", "Average of padding"]),
    last=st.booleans(),
)
def test_poolings_of_any_shape(
    agrees: Check,
    channels: int,
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: int,
    pads: tuple[int, int, int, int],
    batch: int,
    operator: str,
    last: bool,
) -> None:
    """last: behind a convolution, where channels come last."""
    fitting = [min(pad, reach - 1) for pad, reach in zip(pads, kernel * 2, strict=True)]
    total = [fitting[0] + fitting[2], fitting[1] + fitting[3]]
    kind, _, how = operator.partition(" ")
    attributes = {"of padding": {"count_include_pad": 1}, "rounded up": {"ceil_mode": 1}}.get(how, {})
    more = stride - 1 if how == "rounded up" else 0
    out = [(n + pad - reach + more) // stride + 1 for n, pad, reach in zip(size, total, kernel, strict=True)]
    if more:  # a window begins in the image or before it
        out = [o - ((o - 1) * stride >= n + b) for o, n, b in zip(out, size, fitting[:2], strict=True)]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]) if last else helper.make_node("Relu", ["x"], ["c"]),
        helper.make_node(
            f"{kind}Pool", ["c"], ["y"], kernel_shape=kernel, strides=[stride] * 2, pads=fitting, **attributes
        ),
    ]
    weights = {"w": random(channels, channels, 1, 1)} if last else {}
    agrees("tvm", build(nodes, {"x": (batch, channels, *size)}, {"y": (batch, channels, *out)}, weights))


@pytest.mark.slow
@FEW
@given(
    sizes=st.lists(st.sampled_from([1, 3, 8, 16, 24, 32, 64]), min_size=1, max_size=4),
    axis=st.sampled_from([1, -1]),
    other=st.integers(1, 20),
    fused=st.booleans(),
)
def test_concatenations_of_any_shape(agrees: Check, sizes: list[int], axis: int, other: int, fused: bool) -> None:
    def shape(size: int) -> tuple[int, int, int]:
        return (2, size, other) if axis == 1 else (2, other, size)

    names = [f"x{index}" for index in range(len(sizes))]
    nodes = [helper.make_node("Concat", names, ["c"], axis=axis)]
    nodes.append(helper.make_node("Relu" if fused else "Identity", ["c"], ["y"]))
    inputs = {name: shape(size) for name, size in zip(names, sizes, strict=True)}
    built = agrees("tvm", build(nodes, inputs, {"y": shape(sum(sizes))}))
    assert built.notes == ()


@pytest.mark.slow
@FEW
@given(rows=st.integers(1, 40), columns=ODD, operator=st.sampled_from(["Softmax", "LogSoftmax", "ReduceMean"]))
def test_rows_of_any_shape(agrees: Check, rows: int, columns: int, operator: str) -> None:
    attributes = {"axes": [-1]} if operator == "ReduceMean" else {"axis": -1}
    shape = (rows, 1) if operator == "ReduceMean" else (rows, columns)
    nodes = [helper.make_node(operator, ["x"], ["y"], **attributes)]
    agrees("tvm", build(nodes, {"x": (rows, columns)}, {"y": shape}))


@pytest.mark.parametrize("sizes", [(36, 36), (20, 44), (64, 32, 96), (7, 9)])
def test_a_vector_of_a_concatenation_is_of_one_part(agrees: Check, sizes: tuple[int, ...]) -> None:
    names = [f"x{number}" for number in range(len(sizes))]
    nodes = [helper.make_node("Concat", names, ["c"], axis=-1), helper.make_node("Mul", ["c", "w"], ["y"])]
    inputs = {name: (1, 50, size) for name, size in zip(names, sizes, strict=True)}
    model = build(nodes, inputs, {"y": (1, 50, sum(sizes))}, {"w": random(sum(sizes))})
    agrees("tvm", model)
    ((script,),) = [[function.script() for function in schedule(model, "x86-64-v4").values()]]
    lanes = [int(found) for found in re.findall(r"vectorized\(T.int64\((\d+)\)\)", script)]
    assert all(size % found == 0 for size in sizes for found in lanes)


def test_where_a_row_comes_from_is_looked_up_once() -> None:
    nodes = [
        helper.make_node("Resize", ["x", "", "", "sizes"], ["r"], mode="nearest", nearest_mode="floor"),
        helper.make_node("Conv", ["r", "w"], ["y"]),
    ]
    weights = {"sizes": np.array([1, 96, 14, 14]), "w": random(8, 96, 1, 1)}
    scheduled = schedule(build(nodes, {"x": (1, 96, 7, 7)}, {"y": (1, 8, 14, 14)}, weights), "x86-64-v4")
    (resized,) = [function.script() for name, function in scheduled.items() if name.startswith("resize")]
    assert "% T.int64(96)" not in resized


@pytest.mark.parametrize("operator", ["ReduceMean", "ReduceSum", "ReduceMax"])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((1, 1, 20000), [2]),
        ((3, 197, 768), [2]),
        ((5, 7, 49), [-1]),
        ((2, 64), [1]),
        ((2, 3, 13), [2]),
        ((64,), [0]),
        ((2, 64, 3), [1]),
        ((1, 24, 14, 12), [2, 3]),
        ((2, 5, 7, 9), [-2, -1]),
        ((2, 6, 5, 8), [1, 3]),
        ((3, 4, 8), [0, 1, 2]),
    ],
)
@pytest.mark.parametrize("subtracted", [False, True])
def test_a_reduction_along_rows(
    agrees: Check, operator: str, shape: tuple[int, ...], axes: list[int], subtracted: bool
) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Abs", ["m"], ["y"])]
    places = {axis % len(shape) for axis in axes}
    reduced = [1 if place in places else size for place, size in enumerate(shape)]
    weights = {"axes": np.array(axes)} if operator == "ReduceSum" else {}
    attributes = {} if weights else {"axes": axes}
    nodes.insert(1, helper.make_node(operator, ["r", *weights], ["s" if subtracted else "m"], **attributes))
    if subtracted:
        nodes.insert(2, helper.make_node("Sub", ["r", "s"], ["m"]))
    agrees("tvm", build(nodes, {"x": shape}, {"y": shape if subtracted else reduced}, weights))


@pytest.mark.parametrize("shape", [(2, 5, 7, 33), (1, 16, 4, 70), (3, 4, 16), (1, 21, 8, 8), (6, 1, 5), (17, 3)])
@pytest.mark.parametrize("axis", [0, 1, -2])
def test_a_softmax_over_any_axis(agrees: Check, shape: tuple[int, ...], axis: int) -> None:
    nodes = [helper.make_node("Softmax", ["x"], ["s"], axis=axis), helper.make_node("Mul", ["s", "w"], ["y"])]
    model = build(nodes, {"x": shape}, {"y": shape}, {"w": random(*shape[1:])})
    assert agrees("tvm", model).notes == ()
    for before, after in operations(model, "x86-64-v4", "softmax"):
        assert after < 1.1 * before, "no maximum is found again for every element"

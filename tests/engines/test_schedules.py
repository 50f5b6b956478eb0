"""Every schedule over odd shapes against ONNX Runtime: channels that no vector divides, primes, strides, groups."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import onnx
import pytest
import tvm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper
from tvm import te, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.analysis import estimate_tir_flops

from neo.contract.precision import BF16, FP32, Precision
from neo.engines.tvm.cpu.lowering.rows import Rows
from neo.engines.tvm.cpu.schedules.choice import reduction_configurations
from neo.engines.tvm.cpu.schedules.costs import kernel_costs
from neo.engines.tvm.cpu.schedules.injective import schedule_injective
from neo.engines.tvm.cpu.schedules.loops import blocks_of, row_pitch
from neo.engines.tvm.cpu.units.tiles import (
    choose_strip,
    choose_tile,
    choose_width,
    list_strips,
    round_up_rows,
    round_up_strips,
    round_up_vectors,
)
from neo.targets import load_target
from tests.engines.conftest import Check, lower, schedule, to_bfloat16
from tests.models import build

ODD = st.sampled_from([1, 2, 3, 5, 7, 8, 13, 16, 17, 31, 32, 48])
FEW = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


@pytest.mark.slow
@FEW
@given(
    channels=ODD,
    filters=ODD,
    size=st.integers(3, 19),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 2),
    batch=st.sampled_from([1, 2, 7]),
    fused=st.booleans(),
)
def test_convolutions_of_any_shape(
    agrees: Check,
    channels: int,
    filters: int,
    size: int,
    kernel: int,
    stride: int,
    dilation: int,
    batch: int,
    fused: bool,
) -> None:
    pad = dilation * (kernel // 2)
    out = (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
    attributes = {"pads": [pad] * 4, "strides": [stride] * 2, "dilations": [dilation] * 2}
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["c"], **attributes)]
    nodes.append(helper.make_node("Relu" if fused else "Identity", ["c"], ["y"]))
    weights = {"w": random(filters, channels, kernel, kernel), "b": random(filters)}
    model = build(nodes, {"x": (batch, channels, size, size)}, {"y": (batch, filters, out, out)}, weights)
    built = agrees("tvm", model)
    assert built.notes == ()


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("pads", [(0, 0, 1, 1), (1, 2, 0, 0), (0, 3, 0, 1), (2, 2, 2, 2)])
@pytest.mark.parametrize("precision", [FP32, BF16])
def test_zeros_on_any_side_of_an_image_and_strides_over_them(
    agrees: Check, stride: int, pads: tuple[int, int, int, int], precision: Precision
) -> None:
    """A kernel of 3 x 2 that is spread out, over 11 x 14 pixels of which a stride may leave some out."""
    top, left, bottom, right = pads
    out = (11 + top + bottom - 3) // stride + 1, (14 + left + right - 4) // stride + 1
    attributes = {"pads": list(pads), "strides": [stride] * 2, "dilations": [1, 3]}
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], **attributes)]
    model = build(nodes, {"x": (2, 20, 11, 14)}, {"y": (2, 24, *out)}, {"w": random(24, 20, 3, 2)})
    agrees("tvm", model, precision=precision, max_rel=2e-2 if precision == BF16 else 1e-4)


@pytest.mark.slow
@FEW
@given(
    channels=ODD,
    height=st.integers(9, 21),
    width=st.integers(9, 21),
    kernel=st.sampled_from([2, 3, 5]),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 2),
    pads=st.tuples(*[st.integers(0, 3)] * 4),
    batch=st.sampled_from([1, 2, 7]),
    times=st.sampled_from([1, 2]),
)
def test_depthwise_convolutions_of_any_shape(
    agrees: Check,
    channels: int,
    height: int,
    width: int,
    kernel: int,
    stride: int,
    dilation: int,
    pads: tuple[int, int, int, int],
    batch: int,
    times: int,
) -> None:
    filters = channels * times
    reach = dilation * (kernel - 1) + 1
    size = (height + pads[0] + pads[2] - reach) // stride + 1, (width + pads[1] + pads[3] - reach) // stride + 1
    attributes = {"pads": list(pads), "strides": [stride] * 2, "dilations": [dilation] * 2, "group": channels}
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["y"], **attributes)]
    weights = {"w": random(filters, 1, kernel, kernel), "b": random(filters)}
    agrees("tvm", build(nodes, {"x": (batch, channels, height, width)}, {"y": (batch, filters, *size)}, weights))


@pytest.mark.slow
@FEW
@given(
    channels=st.sampled_from([16, 24, 64]),
    filters=st.sampled_from([16, 48, 80]),
    height=st.integers(4, 30),
    width=st.integers(4, 30),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    batch=st.sampled_from([1, 2, 7]),
    fused=st.booleans(),
)
def test_winograd_convolutions_of_any_shape(
    agrees: Check,
    channels: int,
    filters: int,
    height: int,
    width: int,
    pads: tuple[int, int, int, int],
    batch: int,
    fused: bool,
) -> None:
    shape = (batch, filters, height + pads[0] + pads[2] - 2, width + pads[1] + pads[3] - 2)
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=list(pads))]
    nodes.append(helper.make_node("Relu" if fused else "Identity", ["c"], ["y"]))
    weights = {"w": random(filters, channels, 3, 3), "b": random(filters)}
    built = agrees("tvm", build(nodes, {"x": (batch, channels, height, width)}, {"y": shape}, weights))
    assert built.notes == ()


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("pad", [0, 1])
def test_the_first_layer_of_a_network_for_images(agrees: Check, channels: int, pad: int) -> None:
    out = 45 + 2 * pad - 2
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[pad] * 4), helper.make_node("Relu", ["c"], ["y"])]
    weights = {"w": random(32, channels, 3, 3), "b": random(32)}
    built = agrees("tvm", build(nodes, {"x": (1, channels, 45, 45)}, {"y": (1, 32, out, out)}, weights))
    assert built.notes == ()


@pytest.mark.slow
@FEW
@given(
    channels=ODD,
    filters=ODD,
    size=st.integers(1, 9),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    crop=st.booleans(),
    batch=st.sampled_from([1, 2]),
)
def test_transposed_convolutions_of_any_shape(
    agrees: Check, channels: int, filters: int, size: int, kernel: int, stride: int, crop: bool, batch: int
) -> None:
    pad = (kernel - 1) // 2 if crop else 0
    extra = stride - 1 if crop else 0
    out = (size - 1) * stride + kernel + extra - 2 * pad
    attributes = {"pads": [pad] * 4, "strides": [stride] * 2, "output_padding": [extra] * 2}
    nodes = [helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], **attributes)]
    weights = {"w": random(channels, filters, kernel, kernel), "b": random(filters)}
    agrees("tvm", build(nodes, {"x": (batch, channels, size, size)}, {"y": (batch, filters, out, out)}, weights))


@pytest.mark.slow
@FEW
@given(rows=ODD, inner=ODD, columns=ODD, batch=st.sampled_from([0, 1, 3]))
def test_matmuls_of_any_shape(agrees: Check, rows: int, inner: int, columns: int, batch: int) -> None:
    lead = (batch,) if batch else ()
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["m", "b"], ["y"])]
    weights = {"w": random(*lead, inner, columns), "b": random(columns)}
    built = agrees("tvm", build(nodes, {"x": (*lead, rows, inner)}, {"y": (*lead, rows, columns)}, weights))
    assert built.notes == ()


@pytest.mark.parametrize("precision", [FP32, BF16])
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_groups_of_few_channels(agrees: Check, channels: int, precision: Precision) -> None:
    """A sum of one pair has nothing to reduce."""
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["c"], group=2), helper.make_node("Relu", ["c"], ["y"])]
    weights = {"w": to_bfloat16(random(48, channels, 1, 1)), "b": random(48)}
    model = build(nodes, {"x": (1, 2 * channels, 11, 11)}, {"y": (1, 48, 11, 11)}, weights)
    assert agrees("tvm", model, precision=precision).notes == ()


@pytest.mark.slow
@pytest.mark.parametrize("precision", [FP32, BF16])
@FEW
@given(
    groups=st.sampled_from([2, 3, 5, 8]),
    channels=st.sampled_from([1, 2, 3, 4, 8, 16, 24]),
    filters=st.sampled_from([1, 2, 3, 4, 8, 16, 24, 40]),
    size=st.integers(3, 15),
    kernel=st.sampled_from([1, 3]),
    stride=st.integers(1, 2),
    batch=st.sampled_from([1, 2]),
)
def test_grouped_convolutions_of_any_shape(
    agrees: Check,
    groups: int,
    channels: int,
    filters: int,
    size: int,
    kernel: int,
    stride: int,
    batch: int,
    precision: Precision,
) -> None:
    """channels, filters: of each group."""
    pad = kernel // 2
    out = (size + 2 * pad - kernel) // stride + 1
    attributes = {"pads": [pad] * 4, "strides": [stride] * 2, "group": groups}
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["c"], **attributes), helper.make_node("Relu", ["c"], ["y"])]
    weights = {"w": to_bfloat16(random(groups * filters, channels, kernel, kernel)), "b": random(groups * filters)}
    shapes = {"x": (batch, groups * channels, size, size)}, {"y": (batch, groups * filters, out, out)}
    assert agrees("tvm", build(nodes, *shapes, weights), precision=precision).notes == ()


@pytest.mark.parametrize(("filters", "size"), [(24, 7), (24, 14), (128, 8), (128, 13), (192, 27)])
def test_groups_of_more_filters_than_a_tile_has(agrees: Check, filters: int, size: int) -> None:
    """As AlexNet had them when it was written for two GPUs."""
    shape, out = (1, 4, size, size), (1, 2 * filters, size, size)
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4, group=2)]
    assert agrees("tvm", build(nodes, {"x": shape}, {"y": out}, {"w": random(2 * filters, 2, 3, 3)})).notes == ()


@pytest.mark.slow
@pytest.mark.parametrize("precision", [FP32, BF16])
@FEW
@given(
    channels=ODD,
    filters=ODD,
    size=st.integers(5, 40),
    kernel=st.sampled_from([1, 3, 7]),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 4),
    groups=st.sampled_from([1, 1, 2]),
    batch=st.sampled_from([1, 2]),
)
def test_convolutions_of_lines(
    agrees: Check,
    channels: int,
    filters: int,
    size: int,
    kernel: int,
    stride: int,
    dilation: int,
    groups: int,
    batch: int,
    precision: Precision,
) -> None:
    pad = dilation * (kernel // 2)
    out = (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
    attributes = {"pads": [pad, pad], "strides": [stride], "dilations": [dilation], "group": groups}
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["c"], **attributes), helper.make_node("Relu", ["c"], ["y"])]
    weights = {"w": to_bfloat16(random(groups * filters, channels, kernel)), "b": random(groups * filters)}
    shapes = {"x": (batch, groups * channels, size)}, {"y": (batch, groups * filters, out)}
    assert agrees("tvm", build(nodes, *shapes, weights), precision=precision).notes == ()


@pytest.mark.slow
@pytest.mark.parametrize("precision", [FP32, BF16])
@FEW
@given(
    channels=st.sampled_from([1, 3, 4, 16, 24]),
    filters=st.sampled_from([1, 5, 16, 32]),
    size=st.tuples(st.integers(2, 5), st.integers(4, 9), st.integers(4, 9)),
    kernel=st.sampled_from([(1, 1, 1), (3, 3, 3), (3, 1, 1), (1, 3, 3), (3, 7, 7), (2, 2, 2)]),
    stride=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    depth_dilation=st.integers(1, 2),
    batch=st.sampled_from([1, 2]),
)
def test_convolutions_of_volumes(
    agrees: Check,
    channels: int,
    filters: int,
    size: tuple[int, int, int],
    kernel: tuple[int, int, int],
    stride: tuple[int, int],
    depth_dilation: int,
    batch: int,
    precision: Precision,
) -> None:
    strides, dilations = (stride[0], stride[1], stride[1]), (depth_dilation, 1, 1)
    reach = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
    begin, end = [r // 2 for r in reach], [r - r // 2 for r in reach]
    out = [(n - 1) // s + 1 for n, s in zip(size, strides, strict=True)]
    attributes = {"pads": [*begin, *end], "strides": strides, "dilations": dilations}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], **attributes),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Add", ["r", "z"], ["y"]),
    ]
    weights = {
        "w": to_bfloat16(random(filters, channels, *kernel)),
        "b": random(filters),
        "z": random(filters, 1, 1, 1),
    }
    model = build(nodes, {"x": (batch, channels, *size)}, {"y": (batch, filters, *out)}, weights)
    assert agrees("tvm", model, precision=precision).notes == ()


@pytest.mark.parametrize("columns", [21, 98, 100, 196, 197, 441, 1000])
@pytest.mark.parametrize("target", ["x86-64-v4", "x86-64-v3", "raspberry-pi-4"])
def test_no_product_is_computed_twice(columns: int, target: str) -> None:
    """Where no vector divides the columns, more are computed, and the tiles of the result are those of the product."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["m", "b"], ["y"])]
    weights = {"w": random(64, columns), "b": random(columns)}
    model = build(nodes, {"x": (1, 48, 64)}, {"y": (1, 48, columns)}, weights)
    for before, after in operations(model, target, "matmul"):
        assert after < 1.1 * before


@pytest.mark.parametrize(("groups", "filters", "lanes"), [(32, 4, 4), (26, 8, 8), (8, 24, 8), (4, 64, 16)])
def test_a_vector_of_outputs_has_the_inputs_of_one_group(groups: int, filters: int, lanes: int) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4, group=groups)]
    weights = {"w": random(groups * filters, filters, 3, 3)}
    shape = (1, groups * filters, 14, 14)
    scheduled = schedule(build(nodes, {"x": shape}, {"y": shape}, weights), "x86-64-v4")
    (convolution,) = [f for name, f in scheduled.items() if "conv2d" in name]
    assert f"T.vectorized(T.int64({lanes}))" in convolution.script()


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


@given(rows=st.integers(1, 500), columns=st.integers(1, 500), lanes=st.sampled_from([4, 8, 16]), wide=st.booleans())
def test_a_tile_divides_the_output_and_fits_the_registers(rows: int, columns: int, lanes: int, wide: bool) -> None:
    registers = 32 if wide else 16
    tile = choose_tile(rows, columns, lanes, registers)
    assert rows % tile.rows == 0
    assert columns % (tile.vectors * tile.lanes) == 0
    assert tile.lanes <= lanes
    assert (tile.rows + 1) * tile.vectors < registers  # one is left for the input


@pytest.mark.parametrize(
    ("rows", "columns", "tile"),
    [
        (56, 64, (4, 4, 16)),
        (7, 512, (7, 2, 16)),
        (28, 96, (4, 6, 16)),
        (1, 1000, (1, 5, 8)),
        (1, 10, (1, 1, 10)),
        (56, 24, (8, 3, 8)),
    ],
)
def test_the_tile_of_common_layers(rows: int, columns: int, tile: tuple[int, int, int]) -> None:
    chosen = choose_tile(rows, columns, lanes=16, registers=32)
    assert (chosen.rows, chosen.vectors, chosen.lanes) == tile


@given(rows=st.integers(1, 500), columns=st.integers(1, 500), lanes=st.sampled_from([4, 8, 16]))
def test_rounding_rows_up_never_costs_time(rows: int, columns: int, lanes: int) -> None:
    rounded = round_up_rows(rows, columns, lanes, 32)
    cost = choose_tile(rows, columns, lanes, 32).cost
    assert rounded >= rows
    assert rounded * choose_tile(rounded, columns, lanes, 32).cost <= rows * cost


@given(
    rows=st.integers(1, 500),
    columns=st.integers(1, 500),
    lanes=st.sampled_from([4, 8, 16]),
    wide=st.booleans(),
    stride=st.integers(1, 3),
)
def test_a_strip_leaves_half_of_the_registers_to_inputs_and_weights(
    rows: int, columns: int, lanes: int, wide: bool, stride: int
) -> None:
    registers = 32 if wide else 16
    rounded = round_up_strips(rows, columns, lanes, registers, stride)
    strip = choose_strip(rounded, columns, lanes, registers, stride)
    assert rows <= rounded < rows + registers
    assert rounded % strip.rows == 0
    assert columns % strip.lanes == 0
    assert strip.rows * strip.vectors <= registers // 2


@given(columns=st.integers(1, 700), rows=st.integers(1, 14), lanes=st.sampled_from([4, 8, 16]), wide=st.booleans())
def test_vectors_for_so_many_rows_are_enough_and_fit_the_registers(
    columns: int, rows: int, lanes: int, wide: bool
) -> None:
    registers = 32 if wide else 16
    vectors = round_up_vectors(columns, rows, lanes, registers)
    width = choose_width(rows, vectors, registers)
    assert columns <= vectors * lanes < columns + 7 * lanes
    assert vectors % width == 0
    assert width == 1 or width * (rows + 1) < registers


def test_a_prime_number_of_vectors_gets_one_more() -> None:
    """197 columns are 13 vectors, which only a tile of one divides."""
    assert (round_up_vectors(197, 6, 16, 32), choose_width(6, 14, 32)) == (14, 2)


@pytest.mark.parametrize(("columns", "computed"), [(24, 32), (40, 48), (10, 16), (8, 8), (16, 16), (3, 16), (88, 96)])
def test_columns_are_rounded_up_where_that_takes_fewer_vectors(columns: int, computed: int) -> None:
    assert Rows(load_target("x86-64-v4")).columns(columns) == computed


def test_rows_are_not_rounded_up_for_next_to_nothing() -> None:
    """Nine rows keep the units busy where eight do not quite, and take as long."""
    assert round_up_rows(8, 16, 16, 32) == 8


def test_a_prime_number_of_rows_gets_a_wide_tile() -> None:
    rounded = round_up_rows(197, 768, 16, 32)
    tile = choose_tile(rounded, 768, 16, 32)
    assert (rounded, tile.rows, tile.vectors) == (198, 6, 4)


@pytest.mark.parametrize(
    ("rows", "columns", "lanes", "stride", "tile"),
    [
        (56, 144, 16, 1, (14, 1, 16)),
        (14, 672, 16, 1, (14, 1, 16)),
        (7, 1152, 16, 1, (7, 2, 16)),
        (28, 192, 8, 1, (7, 1, 8)),
        (14, 384, 4, 1, (14, 1, 4)),
        (28, 144, 16, 2, (7, 1, 16)),
        (28, 144, 8, 2, (4, 2, 8)),
        (14, 192, 8, 2, (7, 1, 8)),
    ],
)
def test_a_depthwise_convolution_has_a_tall_and_narrow_tile(
    rows: int, columns: int, lanes: int, stride: int, tile: tuple[int, int, int]
) -> None:
    first = list_strips(rows, columns, lanes, registers=32 if lanes != 8 else 16, stride=stride)[0]
    assert (first.rows, first.vectors, first.lanes) == tile


def product_of(shape: tuple[int, ...], place: Callable[[tirx.Var, tirx.Var], tuple[tirx.Expr, ...]]) -> Schedule:
    """A product of 14 rows that are somewhere in an array, with 256 columns of weights. place: row, step -> indices"""
    x, weights = te.placeholder(shape, name="x"), te.placeholder((shape[-1], 256), name="weights")
    step = te.reduce_axis((0, shape[-1]))
    return Schedule(
        te.create_prim_func(
            [
                x,
                weights,
                te.compute((14, 256), lambda row, o: te.sum(x[place(row, step)] * weights[step, o], axis=step)),
            ]
        )
    )


@pytest.mark.parametrize(
    ("schedule", "pitch"),
    [
        (product_of((14, 1024), lambda row, step: (row, step)), 4096),
        (product_of((28, 512), lambda row, step: (row * 2, step)), 4096),
        (product_of((2, 7, 100), lambda row, step: (row // 7, row % 7, step)), 400),
        (product_of((13, 64), lambda row, step: (tirx.min(row, 12), step)), 0),
    ],
)
def test_how_far_apart_rows_are(schedule: Schedule, pitch: int) -> None:
    (block,) = blocks_of(schedule)
    assert row_pitch(schedule, block) == pitch


@pytest.mark.parametrize(("target", "most_rows", "most_sums"), [("x86-64-v4", 8, 16), ("x86-64-v3", 4, 8)])
def test_a_first_layer_leaves_registers_to_its_unrolled_weights(target: str, most_rows: int, most_sums: int) -> None:
    x, weights = te.placeholder((3, 58, 114), name="x"), te.placeholder((3, 3, 3, 32), name="weights")
    ky, kx, c = (te.reduce_axis((0, 3)) for _ in range(3))
    terms = te.compute(
        (28, 56, 32),
        lambda h, w, o: te.sum(x[c, 2 * h + ky, 2 * w + kx] * weights[ky, kx, c, o], axis=[ky, kx, c]),
    )
    tile = reduction_configurations(Schedule(te.create_prim_func([x, weights, terms])), load_target(target))[0].tile
    assert tile.rows <= most_rows
    assert tile.rows * tile.vectors == most_sums


@pytest.mark.parametrize(("steps", "rows"), [(1024, 2), (1008, 14)])
def test_a_tile_has_no_more_rows_than_the_cache_has_places_for(steps: int, rows: int) -> None:
    """Rows that are a multiple of 4 KiB apart share eight lines of the cache that the target promises."""
    schedule = product_of((14, steps), lambda row, step: (row, step))
    assert reduction_configurations(schedule, load_target("x86-64-v3"))[0].tile.rows == rows


@pytest.mark.parametrize(
    ("image", "numbers", "lanes"),
    [
        ((1, 8, 8, 144), (1, 1, 1, 144), 16),  # 32 would reach into the next pixel
        ((1, 8, 8, 64), (1, 1, 1, 64), 32),
        ((1, 64, 6, 8), (1, 64, 1, 1), 16),
        ((1, 8, 8, 144), (1, 8, 8, 144), 32),
        ((4, 8, 8, 3), (1, 1, 1, 3), 32),
    ],
)
def test_a_vector_ends_where_the_number_of_a_channel_does(
    image: tuple[int, ...], numbers: tuple[int, ...], lanes: int
) -> None:
    x, scale = te.placeholder(image, "uint16", name="x"), te.placeholder(numbers, "uint16", name="scale")

    def product(*at: tirx.Var) -> tirx.Expr:
        return x(*at) * scale(*(0 if size == 1 else index for size, index in zip(numbers, at, strict=True)))

    schedule = Schedule(te.create_prim_func([x, scale, te.compute(image, product, name="product")]))
    assert schedule_injective(schedule, load_target("x86-64-v4"), frozenset()) == {}
    assert int(schedule.get(schedule.get_loops(schedule.get_sblock("product"))[-1]).extent) == lanes

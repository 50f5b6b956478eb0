"""Convolutions over odd shapes against ONNX Runtime: channels that no vector divides, primes, strides, groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from neo.contract.precision import BF16, FP32, Precision
from neo.engines.base import BuiltEngine
from neo.runtime import load_engine
from neo.targets import HOST, load_target, why_not_here
from tests.engines.conftest import Check, make_check, schedule, to_bfloat16
from tests.models import build

ODD = st.sampled_from([1, 2, 3, 5, 7, 8, 13, 16, 17, 31, 32, 48])
FEW = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


@pytest.fixture
def agrees(tmp_path: Path) -> Check:
    """For this machine; in bfloat16 without the tiles of AMX, which have tests of their own in test_amx.py."""
    pairs = "x86-64-v4-bf16"
    runs_pairs = not why_not_here(load_target(pairs))
    (tmp_path / "pairs").mkdir()
    on_host = make_check(tmp_path, HOST, load_engine)
    in_pairs = make_check(tmp_path / "pairs", pairs if runs_pairs else HOST, load_engine)

    def check(engine: str, model: onnx.ModelProto, *, precision: Precision = FP32, **options: Any) -> BuiltEngine:
        return (in_pairs if precision == BF16 else on_host)(engine, model, precision=precision, **options)

    return check


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


@pytest.mark.parametrize(("groups", "filters", "lanes"), [(32, 4, 4), (26, 8, 8), (8, 24, 8), (4, 64, 16)])
def test_a_vector_of_outputs_has_the_inputs_of_one_group(groups: int, filters: int, lanes: int) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4, group=groups)]
    weights = {"w": random(groups * filters, filters, 3, 3)}
    shape = (1, groups * filters, 14, 14)
    scheduled = schedule(build(nodes, {"x": shape}, {"y": shape}, weights), "x86-64-v4")
    (convolution,) = [f for name, f in scheduled.items() if "conv2d" in name]
    assert f"T.vectorized(T.int64({lanes}))" in convolution.script()

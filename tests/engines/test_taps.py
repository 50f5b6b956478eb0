"""What a kernel reads of nothing but zeros is not computed."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from onnx import helper
from tvm import relax

from neo.contract.precision import BF16, FP32, Precision
from neo.engines.tvm.rewrites.taps import drop_taps
from neo.targets import load_target
from tests.engines.conftest import Check, imported, schedule, to_bfloat16
from tests.models import build


@pytest.mark.parametrize(
    ("size", "kernel", "dilation", "stride", "pads", "left"),
    [
        (16, 3, 24, 1, [24, 24, 24, 24], (1, 1)),
        (16, 3, 12, 1, [12, 12, 12, 12], (3, 3)),
        (4, 7, 1, 1, [3, 3, 3, 3], (7, 7)),
        (3, 7, 1, 1, [3, 3, 3, 3], (5, 5)),
        (2, 3, 1, 1, [0, 0, 1, 1], (2, 2)),
        (2, 5, 2, 2, [4, 4, 4, 4], (1, 1)),
    ],
)
def test_taps_that_meet_no_pixel_are_gone(
    agrees: Check, size: int, kernel: int, dilation: int, stride: int, pads: list[int], left: tuple[int, int]
) -> None:
    """left: how many rows and columns of the kernel are needed."""
    out = [(size + pads[axis] + pads[axis + 2] - dilation * (kernel - 1) - 1) // stride + 1 for axis in (0, 1)]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], dilations=[dilation] * 2, strides=[stride] * 2, pads=pads),
    ]
    weights = {"w": np.random.default_rng(0).normal(size=(8, 32, kernel, kernel)).astype(np.float32)}
    model = build(nodes, {"x": (1, 32, size, size)}, {"y": (1, 8, *out)}, weights)
    agrees("tvm", model)
    assert taps(model) == left


def taps(model: onnx.ModelProto) -> tuple[int, ...]:
    """Rows and columns of the kernel that is left."""
    module = drop_taps(imported(model, load_target("host")))
    found: list[tuple[int, ...]] = []

    def visit(value: relax.Expr) -> None:
        if isinstance(value, relax.Call) and getattr(value.op, "name", "") == "relax.nn.conv2d":
            found.append(tuple(int(size) for size in value.args[1].ty.shape)[2:])

    relax.analysis.post_order_visit(module["main"], visit)
    (size,) = found
    return size


@pytest.mark.parametrize("precision", [FP32, BF16])
@pytest.mark.parametrize(("dilation", "stride", "groups"), [(6, 1, 1), (6, 2, 1), (7, 1, 2)])
def test_rows_of_zeros_are_left_out(
    agrees: Check, dilation: int, stride: int, groups: int, precision: Precision
) -> None:
    out = (9 - 1) // stride + 1
    attributes = {"dilations": [dilation] * 2, "pads": [dilation] * 4, "strides": [stride] * 2, "group": groups}
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"], **attributes), helper.make_node("Relu", ["c"], ["y"])]
    weights = {"w": to_bfloat16(np.random.default_rng(0).normal(size=(32, 32 // groups, 3, 3)))}
    model = build(nodes, {"x": (2, 32, 9, 9)}, {"y": (2, 32, out, out)}, weights)
    agrees("tvm", model, precision=precision)
    scheduled = schedule(model, "x86-64-v3")
    (convolution,) = [function.script() for name, function in scheduled.items() if "conv2d" in name]
    assert re.search(r"\n +if \S.*:\n", convolution)

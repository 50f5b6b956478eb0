"""Where channels are last, and that the answers are the same wherever that is."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper
from tvm import relax

from neo.engines.tvm.ir.constants import fold_constants
from neo.engines.tvm.ir.indices import axes_of
from neo.engines.tvm.layout import choose_layouts
from neo.engines.tvm.layout.cut import FIRST, LAST, Border
from neo.engines.tvm.layout.view import View
from neo.engines.tvm.rewrites.simplify import simplify
from neo.targets import load_target
from tests.engines.conftest import Check, imported
from tests.models import build

CHANNELS = 32


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def convolution(source: str, result: str, weights: str = "w") -> onnx.NodeProto:
    return helper.make_node("Conv", [source, weights], [result], pads=[1] * 4)


def moved(model: onnx.ModelProto) -> list[int]:
    """How many elements every transpose moves that is left."""
    target = load_target("host")
    module = relax.transform.DecomposeOpsForInference()(imported(model, target))
    module = simplify(choose_layouts(fold_constants(module)))
    found = []

    def visit(value: relax.Expr) -> None:
        if isinstance(value, relax.Call) and getattr(value.op, "name", "") == "relax.permute_dims":
            shape = [int(size) for size in value.args[0].ty.shape]
            long = [axis for axis in axes_of(value) if shape[axis] > 1]
            if long != sorted(long):
                found.append(math.prod(shape))

    relax.analysis.post_order_visit(module["main"], visit)
    return sorted(found)


IMAGE, KERNEL = (1, CHANNELS, 8, 8), {"w": random(CHANNELS, CHANNELS, 3, 3)}
BORDERS = [CHANNELS * 64] * 2

BETWEEN: dict[str, tuple[list[onnx.NodeProto], dict[str, np.ndarray]]] = {
    "a shuffle of channels": (
        [
            helper.make_node("Reshape", ["p", "grouped"], ["g"]),
            helper.make_node("Transpose", ["g"], ["t"], perm=[0, 2, 1, 3, 4]),
            helper.make_node("Reshape", ["t", "whole"], ["q"]),
        ],
        {"grouped": np.array([1, 4, 8, 8, 8]), "whole": np.array(IMAGE)},
    ),
    "parts, one of them changed": (
        [
            helper.make_node("Split", ["p"], ["a", "b"], axis=1),
            helper.make_node("Sigmoid", ["b"], ["c"]),
            helper.make_node("Concat", ["c", "a"], ["q"], axis=1),
        ],
        {},
    ),
    "a gate over channels": (
        [
            helper.make_node("ReduceMean", ["p"], ["m"], axes=[2, 3]),
            helper.make_node("Sigmoid", ["m"], ["g"]),
            helper.make_node("Mul", ["p", "g"], ["q"]),
        ],
        {},
    ),
    "rows that are padded and cut": (
        [
            helper.make_node("Pad", ["p", "pads"], ["a"]),
            helper.make_node("Slice", ["a", "begin", "end", "axes"], ["q"]),
        ],
        {
            "pads": np.array([0, 2, 1, 0, 0, 0, 1, 0]),
            "begin": np.array([2, 1]),
            "end": np.array([34, 9]),
            "axes": np.array([1, 2]),
        },
    ),
    "a softmax over channels": ([helper.make_node("Softmax", ["p"], ["q"], axis=1)], {}),
    "a constant of the image's size": ([helper.make_node("Add", ["p", "c"], ["q"])], {"c": random(8, 8)}),
    "a mean without its dimension": (
        [
            helper.make_node("ReduceMean", ["p"], ["m"], axes=[1], keepdims=0),
            helper.make_node("Unsqueeze", ["m", "one"], ["u"]),
            helper.make_node("Add", ["p", "u"], ["q"]),
        ],
        {"one": np.array([1])},
    ),
    "channels that are looked up": (
        [helper.make_node("Gather", ["p", "order"], ["q"], axis=1)],
        {"order": np.arange(CHANNELS)[::-1].copy()},
    ),
    "a larger image": (
        [
            helper.make_node("Resize", ["p", "", "scales"], ["l"], mode="nearest"),
            helper.make_node("MaxPool", ["l"], ["q"], kernel_shape=[2, 2], strides=[2, 2]),
        ],
        {"scales": np.array([1, 1, 2, 2], np.float32)},
    ),
    "other spellings of the same order": (
        [
            helper.make_node("Transpose", ["p"], ["t"], perm=[0, 2, 3, 1]),
            helper.make_node("Relu", ["t"], ["r"]),
            helper.make_node("Transpose", ["r"], ["q"], perm=[0, 3, 1, 2]),
        ],
        {},
    ),
    "pixels in a row": (
        [
            helper.make_node("Reshape", ["p", "flat"], ["f"]),
            helper.make_node("Relu", ["f"], ["r"]),
            helper.make_node("Reshape", ["r", "whole"], ["q"]),
        ],
        {"flat": np.array([1, CHANNELS, 64]), "whole": np.array(IMAGE)},
    ),
}


@pytest.mark.parametrize("between", BETWEEN)
def test_between_convolutions_nothing_is_rearranged(agrees: Check, between: str) -> None:
    nodes, weights = BETWEEN[between]
    model = build(
        [convolution("x", "p"), *nodes, convolution("q", "y")], {"x": IMAGE}, {"y": IMAGE}, {**KERNEL, **weights}
    )
    agrees("tvm", model)
    own = BORDERS[:1] if "shuffle" in between else []
    assert moved(model) == [*BORDERS, *own]


def test_an_image_is_rearranged_where_it_is_small(agrees: Check) -> None:
    nodes = [
        convolution("x", "p"),
        helper.make_node("Resize", ["p", "", "scales"], ["l"], mode="linear"),
        helper.make_node("Relu", ["l"], ["y"]),
    ]
    weights = {**KERNEL, "scales": np.array([1, 1, 4, 4], np.float32)}
    model = build(nodes, {"x": IMAGE}, {"y": (1, CHANNELS, 32, 32)}, weights)
    agrees("tvm", model)
    assert moved(model) == BORDERS


def test_an_image_becomes_words_in_passing(agrees: Check) -> None:
    nodes = [
        convolution("x", "p"),
        helper.make_node("Reshape", ["p", "flat"], ["f"]),
        helper.make_node("Transpose", ["f"], ["t"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["t", "v"], ["y"]),
    ]
    weights = {**KERNEL, "flat": np.array([1, CHANNELS, 64]), "v": random(CHANNELS, 16)}
    model = build(nodes, {"x": IMAGE}, {"y": (1, 64, 16)}, weights)
    agrees("tvm", model)
    assert moved(model) == BORDERS[:1]


def test_poolings_alone_have_their_channels_last_too(agrees: Check) -> None:
    pools = [helper.make_node("MaxPool", [a], [b], kernel_shape=[3, 3], pads=[1] * 4) for a, b in ("xp", "pq", "qy")]
    model = build(pools, {"x": IMAGE}, {"y": IMAGE})
    agrees("tvm", model)
    assert moved(model) == BORDERS


def test_an_image_of_few_channels_is_read_as_it_comes(agrees: Check) -> None:
    nodes = [helper.make_node("Mul", ["x", "s"], ["p"]), convolution("p", "q"), helper.make_node("Relu", ["q"], ["y"])]
    weights = {"w": random(8, 3, 3, 3), "s": random(3, 1, 1)}
    model = build(nodes, {"x": (1, 3, 9, 9)}, {"y": (1, 8, 9, 9)}, weights)
    agrees("tvm", model)
    assert moved(model) == [8 * 81]


@given(st.integers(3, 6), st.data())
def test_a_view_and_the_way_back(rank: int, data: st.DataObject) -> None:
    view = View(rank, data.draw(st.integers(0, rank - 1)))
    array = np.arange(math.prod(range(2, rank + 2))).reshape(range(2, rank + 2))
    turned = array.transpose(view.order)
    np.testing.assert_array_equal(turned.transpose(view.back), array)
    assert all(turned.shape[view.axis(axis)] == array.shape[axis] for axis in range(rank))
    assert view.moves(array.shape) != np.array_equal(turned.ravel(), array.ravel())


@pytest.mark.parametrize(
    ("before", "spatial", "after", "regrouped"),
    [
        ((1, 8, 4, 4), 2, (1, 8, 16), 1),
        ((1, 8, 4, 4), 2, (1, 2, 4, 4, 4), 2),
        ((1, 8, 1, 1), 2, (1, 8), 0),
        ((2, 8, 4, 4), 2, (2, 128), None),
        ((2, 8, 4, 4), 2, (16, 4, 4), None),
        ((1, 8, 4, 4), 2, (1, 4, 8, 4), None),
    ],
)
def test_a_shape_in_which_pixels_stay_pixels(
    before: tuple[int, ...], spatial: int, after: tuple[int, ...], regrouped: int | None
) -> None:
    view = View(len(before), spatial).regrouped(before, after)
    assert (None if view is None else view.spatial) == regrouped
    if view is not None:
        array = np.arange(math.prod(before)).reshape(before)
        same = array.transpose(View(len(before), spatial).order).reshape([after[axis] for axis in view.order])
        np.testing.assert_array_equal(same, array.reshape(after).transpose(view.order))


@given(
    st.integers(2, 6).flatmap(
        lambda things: st.tuples(
            st.just(things),
            st.lists(
                st.tuples(st.integers(0, things - 1), st.sampled_from([FIRST, LAST]), st.integers(1, 9)), max_size=8
            ),
            st.lists(
                st.tuples(
                    st.integers(0, things - 1),
                    st.integers(1, 9),
                    st.lists(st.integers(0, things - 1), min_size=1, max_size=3),
                ),
                max_size=6,
            ),
        )
    )
)
def test_no_other_border_costs_less(
    graph: tuple[int, list[tuple[int, str, int]], list[tuple[int, int, list[int]]]],
) -> None:
    things, wishes, values = graph
    border = Border()
    for thing, side, cost in wishes:
        border.prefer(thing, side, cost)
    for number, (owner, cost, readers) in enumerate(values):
        border.pass_on(("value", number), owner, cost, readers)

    def cost_of(last: set[int]) -> int:
        against = sum(cost for thing, side, cost in wishes if (thing in last) != (side == LAST))
        return against + sum(
            cost for owner, cost, readers in values if any((r in last) != (owner in last) for r in readers)
        )

    every = [{thing for thing in range(things) if number >> thing & 1} for number in range(1 << things)]
    found = {thing for thing in range(things) if thing in border.cheapest()}
    assert cost_of(found) == min(map(cost_of, every))

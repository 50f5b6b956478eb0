"""What is written in several steps is computed in fewer, with the same answer."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from tests.engines.conftest import Check, kernels, schedule
from tests.models import build


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def test_a_batch_normalisation_is_a_product_and_a_sum(agrees: Check) -> None:
    nodes = [
        helper.make_node("BatchNormalization", ["x", "scale", "shift", "mean", "variance"], ["n"]),
        helper.make_node("Relu", ["n"], ["y"]),
    ]
    weights = {name: random(8) for name in ("scale", "shift", "mean")} | {"variance": np.abs(random(8)) + 0.1}
    model = build(nodes, {"x": (1, 8, 5, 5)}, {"y": (1, 8, 5, 5)}, weights)
    agrees("tvm", model)
    assert kernels(model) == ["fused_multiply_add_relu"]


def test_numbers_between_do_not_disturb(agrees: Check) -> None:
    nodes = [
        helper.make_node("Sub", ["x", "a"], ["p"]),
        helper.make_node("Mul", ["b", "p"], ["q"]),
        helper.make_node("Div", ["q", "c"], ["r"]),
        helper.make_node("Add", ["d", "r"], ["s"]),
        helper.make_node("Mul", ["q", "s"], ["y"]),
    ]
    weights = {name: random(4) + 3 for name in "abcd"}
    agrees("tvm", build(nodes, {"x": (3, 4)}, {"y": (3, 4)}, weights))


@pytest.mark.parametrize("divisor", [0.0, 1e-45, np.inf])
def test_a_division_that_has_no_reciprocal_stays_one(agrees: Check, divisor: float) -> None:
    nodes = [helper.make_node("Div", ["x", "c"], ["y"]), helper.make_node("IsNaN", ["y"], ["nan"])]
    model = build(nodes[:1], {"x": (2, 3)}, {"y": (2, 3)}, {"c": np.array([divisor], np.float32)})
    assert kernels(model) == ["divide"]


def test_a_constant_that_makes_the_result_larger_is_no_shift_of_the_input(agrees: Check) -> None:
    nodes = [helper.make_node("Add", ["x", "a"], ["p"]), helper.make_node("Add", ["p", "b"], ["y"])]
    agrees("tvm", build(nodes, {"x": (1, 4)}, {"y": (3, 4)}, {"a": random(3, 4), "b": random(4)}))


def test_rows_of_a_product_are_flattened_by_nobody(agrees: Check) -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["g"]),
        helper.make_node("Reshape", ["g", "deep"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Add", ["r", "x"], ["y"]),
    ]
    weights = {"w": random(16, 16), "b": random(16), "flat": np.array([6, 16]), "deep": np.array([2, 3, 16])}
    model = build(nodes, {"x": (2, 3, 16)}, {"y": (2, 3, 16)}, weights)
    agrees("tvm", model)
    assert kernels(model) == ["fused_matmul_add_relu_add1"]


def test_rows_that_change_their_place_are_still_flattened(agrees: Check) -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["g"]),
        helper.make_node("Reshape", ["g", "other"], ["y"]),
    ]
    weights = {"w": random(16, 16), "flat": np.array([6, 16]), "other": np.array([3, 2, 16])}
    agrees("tvm", build(nodes, {"x": (2, 3, 16)}, {"y": (3, 2, 16)}, weights))


@pytest.mark.parametrize(
    ("second", "shape", "kernel"),
    [
        ([0, 3, 1, 2], (1, 3, 4, 5), "fused_relu_sigmoid"),
        ([0, 2, 3, 1], (1, 5, 3, 4), "fused_relu_transpose_sigmoid"),
    ],
)
def test_transposes_in_a_row_are_one_or_none(
    agrees: Check, second: list[int], shape: tuple[int, ...], kernel: str
) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Transpose", ["r"], ["t"], perm=[0, 2, 3, 1]),
        helper.make_node("Transpose", ["t"], ["u"], perm=second),
        helper.make_node("Sigmoid", ["u"], ["y"]),
    ]
    model = build(nodes, {"x": (1, 3, 4, 5)}, {"y": shape})
    agrees("tvm", model)
    assert kernels(model) == [kernel]


def test_a_transposed_convolution_stays_in_the_layout_of_its_neighbours(agrees: Check) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["p"], pads=[1] * 4),
        helper.make_node("ConvTranspose", ["p", "b"], ["q"], strides=[2, 2]),
        helper.make_node("Relu", ["q"], ["r"]),
        helper.make_node("Conv", ["r", "c"], ["y"], pads=[1] * 4),
    ]
    weights = {"a": random(16, 20, 3, 3), "b": random(16, 24, 2, 2), "c": random(8, 24, 3, 3)}
    model = build(nodes, {"x": (1, 20, 9, 9)}, {"y": (1, 8, 18, 18)}, weights)
    agrees("tvm", model)
    alone = [name for name in kernels(model) if name.startswith("transpose")]
    assert len(alone) == 2, "at the model's borders only"


def test_what_is_added_in_another_shape_meets_what_is_behind(agrees: Check) -> None:
    """As the mask of shifted windows, between the scores of an attention and their softmax."""
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Reshape", ["r", "deep"], ["d"]),
        helper.make_node("Add", ["d", "mask"], ["a"]),
        helper.make_node("Reshape", ["a", "flat"], ["f"]),
        helper.make_node("Sigmoid", ["f"], ["y"]),
    ]
    weights = {"mask": random(1, 4, 1, 7, 7), "deep": np.array([1, 4, 3, 7, 7]), "flat": np.array([4, 3, 7, 7])}
    model = build(nodes, {"x": (4, 3, 7, 7)}, {"y": (4, 3, 7, 7)}, weights)
    agrees("tvm", model)
    assert kernels(model) == ["fused_relu_add_sigmoid"]


def test_parts_of_shuffled_channels_are_joined_by_themselves(agrees: Check) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Sigmoid", ["x"], ["b"]),
        helper.make_node("Concat", ["a", "b"], ["c"], axis=1),
        helper.make_node("Reshape", ["c", "grouped"], ["g"]),
        helper.make_node("Transpose", ["g"], ["t"], perm=[0, 2, 1, 3, 4]),
        helper.make_node("Reshape", ["t", "whole"], ["w"]),
        helper.make_node("Split", ["w"], ["p", "q"], axis=1),
        helper.make_node("Neg", ["p"], ["y"]),
        helper.make_node("Exp", ["q"], ["z"]),
    ]
    weights = {"grouped": np.array([1, 2, 6, 5, 5]), "whole": np.array([1, 12, 5, 5])}
    half = (1, 6, 5, 5)
    model = build(nodes, {"x": half}, {"y": half, "z": half}, weights)
    agrees("tvm", model)
    assert len([name for name in kernels(model) if "concat" in name]) == 2
    assert not [name for name in kernels(model) if name.startswith("split")]


@pytest.mark.parametrize(("groups", "channels"), [(2, 58), (3, 12), (4, 40), (16, 32)])
def test_channels_of_several_tensors_in_turns(agrees: Check, groups: int, channels: int) -> None:
    """Of each of so many tensors one channel at a time."""
    names = [f"x{number}" for number in range(groups)]
    nodes = [
        *[helper.make_node("Transpose", [name], [f"{name}_last"], perm=[0, 2, 3, 1]) for name in names],
        helper.make_node("Concat", [f"{name}_last" for name in names], ["c"], axis=-1),
        helper.make_node("Reshape", ["c", "grouped"], ["g"]),
        helper.make_node("Transpose", ["g"], ["t"], perm=[0, 1, 2, 4, 3]),
        helper.make_node("Reshape", ["t", "whole"], ["w"]),
        helper.make_node("Relu", ["w"], ["y"]),
    ]
    whole = (1, 5, 7, groups * channels)
    weights = {"grouped": np.array([1, 5, 7, groups, channels]), "whole": np.array(whole)}
    inputs = dict.fromkeys(names, (1, channels, 5, 7))
    model = build(nodes, inputs, {"y": whole}, weights)
    agrees("tvm", model)
    (kernel,) = [function.script() for name, function in schedule(model, "x86-64-v4").items() if "concat" in name]
    assert (f"T.unroll(T.int64({groups}))" in kernel) == (groups <= 8)


def test_a_whole_that_others_read_too_is_split(agrees: Check) -> None:
    nodes = [
        helper.make_node("Concat", ["x", "x"], ["c"], axis=1),
        helper.make_node("Split", ["c"], ["p", "q"], axis=1),
        helper.make_node("Add", ["p", "q"], ["y"]),
        helper.make_node("Neg", ["c"], ["z"]),
    ]
    agrees("tvm", build(nodes, {"x": (1, 6, 5)}, {"y": (1, 6, 5), "z": (1, 12, 5)}))

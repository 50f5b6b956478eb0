"""What is written in several steps is computed in fewer, with the same answer."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from neo.engines.tvm.build import llvm_target, lower_graph
from neo.engines.tvm.importer import import_model
from neo.targets import load_target
from tests.engines.conftest import Check
from tests.engines.reference import specs
from tests.models import build


def kernels(model: onnx.ModelProto) -> list[str]:
    target = load_target("host")
    module, _ = lower_graph(import_model(model, specs(model.graph.input), target), target, llvm_target(target))
    return sorted(name.name_hint for name in module.functions if name.name_hint != "main")


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

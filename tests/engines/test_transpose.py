"""Blocks that are turned in registers: every element arrives, whatever the shape."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from neo.engines.tvm.cpu.codegen.host_passes import pipeline_of
from neo.engines.tvm.cpu.lowering.transpose import Transpose, transpose_function
from neo.engines.tvm.cpu.units.llvm import llvm_target
from neo.targets import load_target
from tests.engines.conftest import Check, kernels
from tests.models import build

UNTOUCHED = -1.0


def compiled(spec: Transpose, lanes: int) -> tvm.runtime.Executable:
    function = transpose_function(spec, lanes).with_attr("global_symbol", "main")
    target = llvm_target(load_target("host"))
    return tvm.compile(tvm.IRModule({"main": function}), target=target, tir_pipeline=pipeline_of(None, 2))


def turned(x: np.ndarray, axes: tuple[int, ...], width: int, lanes: int) -> np.ndarray:
    spec = Transpose(x.shape, axes, width)
    y = tvm.runtime.tensor(np.full(spec.output_shape, UNTOUCHED, np.float32))
    compiled(spec, lanes)["main"](tvm.runtime.tensor(x), y)
    return y.numpy()


@settings(max_examples=25, deadline=None)
@given(
    shape=st.lists(st.sampled_from([1, 2, 3, 5, 16, 17, 31, 40]), min_size=2, max_size=4),
    axes=st.randoms(use_true_random=False),
    lanes=st.sampled_from([4, 8, 16]),
    more=st.sampled_from([0, 3]),
)
def test_transposes_of_any_shape(shape: list[int], axes: object, lanes: int, more: int) -> None:
    order = list(range(len(shape)))
    axes.shuffle(order)  # type: ignore[attr-defined]
    width = shape[order[-1]] + more
    if not Transpose(tuple(shape), tuple(order), width).fits(lanes):
        return
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    y = turned(x, tuple(order), width, lanes)
    assert np.array_equal(y[..., : shape[order[-1]]], x.transpose(order))
    assert (y[..., shape[order[-1]] :] == UNTOUCHED).all()


@pytest.mark.parametrize(
    ("shape", "axes", "fits"),
    [
        ((1, 256, 14, 14), (0, 2, 3, 1), True),  # rows and columns of an image stay together
        ((1, 14, 14, 256), (0, 3, 1, 2), True),
        ((1, 128, 12, 64), (0, 2, 3, 1), True),
        ((1, 128, 12, 64), (0, 2, 1, 3), False),  # whole rows move
        ((1, 3, 224, 224), (0, 2, 3, 1), False),  # no block of 16 channels
        ((16, 16), (0, 1), False),
        ((1, 1), (1, 0), False),
    ],
)
def test_what_is_turned_by_blocks(shape: tuple[int, ...], axes: tuple[int, ...], fits: bool) -> None:
    assert Transpose(shape, axes, shape[axes[-1]]).fits(16) == fits


def test_two_neighbours_stay_together_as_one_number() -> None:
    x = np.random.default_rng(0).integers(0, 1 << 16, (2, 20, 34), np.uint16)
    spec = Transpose((2, 20, 17), (0, 2, 1), 20, pairs=True)
    y = tvm.runtime.empty(spec.output_shape, "int32")
    compiled(spec, 16)["main"](tvm.runtime.tensor(x), y)
    assert np.array_equal(y.numpy(), x.view(np.int32).transpose(0, 2, 1))


@pytest.mark.parametrize("axes", [axes for axes in permutations(range(3)) if axes[-1] != 2])
def test_a_model_that_transposes_uses_it(axes: tuple[int, ...]) -> None:
    shape = (48, 32, 64)
    nodes = [helper.make_node("Transpose", ["x"], ["y"], perm=axes)]
    model = build(nodes, {"x": shape}, {"y": [shape[axis] for axis in axes]})
    assert kernels(model) == ["transpose"]


@pytest.mark.parametrize("axes", [(0, 2, 3, 1), (0, 3, 1, 2), (3, 1, 2, 0), (2, 3, 0, 1)])
def test_an_engine_transposes(agrees: Check, axes: tuple[int, ...]) -> None:
    shape = (17, 23, 4, 29)
    nodes = [helper.make_node("Transpose", ["x"], ["y"], perm=axes)]
    agrees("tvm", build(nodes, {"x": shape}, {"y": [shape[axis] for axis in axes]}))


def test_weights_that_are_computed_from_constants_are_transposed_when_the_model_is_built(agrees: Check) -> None:
    """TVM folds them, by code that it compiles without our functions."""
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["w"]),
        helper.make_node("Conv", ["x", "w"], ["y"]),
    ]
    numbers = np.random.default_rng(0).integers(-128, 128, (64, 64, 1, 1), np.int8)
    weights = {"q": numbers, "scale": np.array(0.01, np.float32), "zero": np.array(0, np.int8)}
    agrees("tvm", build(nodes, {"x": (1, 64, 8, 8)}, {"y": (1, 64, 8, 8)}, weights))

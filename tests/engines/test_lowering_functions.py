"""The vectorised functions against float64, over the whole range of their inputs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.engines.conftest import Check, kernels
from tests.models import build

EDGES = [-1e4, -104, -88, -87, -20, -1, -1e-3, -1e-8, 0, 1e-8, 1e-3, 1, 20, 87, 88, 1e4]


@pytest.mark.parametrize("operator", ["Sigmoid", "Tanh", "Erf", "Exp"])
def test_a_vectorised_function_is_as_good_as_float32(run_tvm: Check, operator: str) -> None:
    x = np.concatenate([np.linspace(-30, 30, 4000), EDGES]).astype(np.float32)[None]
    if operator == "Exp":
        x = np.clip(x, -80, 80)
    exact = {
        "Sigmoid": lambda v: 1 / (1 + np.exp(-v)),
        "Tanh": np.tanh,
        "Erf": np.vectorize(math.erf),
        "Exp": np.exp,
    }[operator](np.clip(x.astype(np.float64), -700, 700))
    model = build([helper.make_node(operator, ["x"], ["y"])], {"x": x.shape}, {"y": x.shape})
    got = run_tvm(model, x)
    assert np.isfinite(got).all()
    error = np.abs(got - exact)
    assert (error <= 1e-6 * np.abs(exact) + (0 if operator == "Exp" else 1e-6)).all()


def test_an_index_out_of_bounds_reads_no_foreign_memory(run_tvm: Check) -> None:
    table = np.arange(40, dtype=np.float32).reshape(10, 4)
    nodes = [
        helper.make_node("Cast", ["x"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "index"], ["y"]),
    ]
    x = np.array([0, 9, -1, 10, 1e9, -1e9], np.float32)
    got = run_tvm(build(nodes, {"x": (6,)}, {"y": (6, 4)}, {"table": table}), x)
    np.testing.assert_array_equal(got[:3], table[[0, 9, 9]])
    assert all(row in table for row in got)


@pytest.mark.parametrize("operator", ["ReduceMax", "ReduceMin"])
@pytest.mark.parametrize(("axes", "keepdims"), [([2], 1), ([2], 0), ([0, -1], 0), (None, 0), (None, 1)])
def test_the_extreme_of_infinities_is_infinite(
    run_tvm: Check, operator: str, axes: list[int] | None, keepdims: int
) -> None:
    """A row that a mask takes out altogether holds nothing but -inf, and is found by its largest element."""
    sign = -1 if operator == "ReduceMax" else 1
    x = np.random.default_rng(0).normal(0, 1, (2, 3, 17)).astype(np.float32)
    x[:, 1] = sign * np.inf
    function = np.max if sign < 0 else np.min
    wanted = function(x, axis=None if axes is None else tuple(axes), keepdims=bool(keepdims))
    node = helper.make_node(operator, ["x"], ["y"], keepdims=keepdims, **({} if axes is None else {"axes": axes}))
    got = run_tvm(build([node], {"x": x.shape}, {"y": wanted.shape}), x)
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("wanted", [[4, 1, 5, 1], [5, 2], [1]])
def test_expand_broadcasts_both_ways(run_tvm: Check, wanted: list[int]) -> None:
    x = np.arange(6, dtype=np.float32).reshape(3, 1, 2)
    shape = np.broadcast_shapes(x.shape, tuple(wanted))
    weights = {"shape": np.array(wanted, np.int64)}
    model = build([helper.make_node("Expand", ["x", "shape"], ["y"])], {"x": x.shape}, {"y": shape}, weights)
    np.testing.assert_array_equal(run_tvm(model, x), np.broadcast_to(x, shape))


@pytest.mark.parametrize("exponent", [0.5, -0.5, 1.0, 2.0, 3.0, 4.0, -1.0, -2.0, 2.5, 0.0])
def test_powers(run_tvm: Check, exponent: float) -> None:
    x = np.array([[0.1, 0.5, 1, 2, 3.7, 10, 100]], np.float32)
    signs = [-1, 1, -1, 1, -1, 1, -1] if exponent.is_integer() else [1] * 7
    signed = x * np.array(signs, np.float32)
    exponents = {"e": np.array(exponent, np.float32)}
    model = build([helper.make_node("Pow", ["x", "e"], ["y"])], {"x": x.shape}, {"y": x.shape}, exponents)
    np.testing.assert_allclose(run_tvm(model, signed), signed.astype(np.float64) ** exponent, rtol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_parts_of_a_tensor_are_slices(agrees: Check, axis: int) -> None:
    shape = [6, 8, 10]
    sizes = [1, 3, shape[axis] - 4]
    parts = [[*shape] for _ in sizes]
    for part, size in zip(parts, sizes, strict=True):
        part[axis] = size
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Split", ["r", "sizes"], ["a", "b", "c"], axis=axis),
        helper.make_node("Neg", ["b"], ["n"]),
    ]
    outputs = dict(zip("anc", parts, strict=True))
    assert agrees("tvm", build(nodes, {"x": shape}, outputs, {"sizes": np.array(sizes)})).notes == ()


@pytest.mark.parametrize(
    ("equation", "left", "right", "result"),
    [
        ("bhid,bhjd->bhij", (2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 5, 7)),
        ("ij,jk->ik", (5, 8), (8, 3), (5, 3)),
        ("bij, bjk -> bki", (2, 5, 8), (2, 8, 3), (2, 3, 5)),
        ("i,j->ij", (5,), (3,), (5, 3)),
        ("i,i->", (8,), (8,), ()),
        ("abc,cbd->ad", (2, 3, 4), (4, 3, 5), (2, 5)),
        ("bhwc,hkc->bhwk", (1, 4, 5, 8), (4, 6, 8), (1, 4, 5, 6)),
        ("ij,kj->i", (5, 8), (3, 8), (5,)),
    ],
)
def test_a_summation_of_two_tensors(
    agrees: Check, equation: str, left: tuple[int, ...], right: tuple[int, ...], result: tuple[int, ...]
) -> None:
    nodes = [helper.make_node("Einsum", ["x", "z"], ["y"], equation=equation)]
    agrees("tvm", build(nodes, {"x": left, "z": right}, {"y": result}))


def test_an_attention_written_as_summations_is_one_kernel(agrees: Check) -> None:
    nodes = [
        helper.make_node("Einsum", ["q", "k"], ["s"], equation="bhid,bhjd->bhij"),
        helper.make_node("Softmax", ["s"], ["p"]),
        helper.make_node("Einsum", ["p", "v"], ["y"], equation="bhij,bhjd->bhid"),
    ]
    shape = (1, 2, 16, 32)
    model = build(nodes, {"q": shape, "k": shape, "v": shape}, {"y": shape})
    agrees("tvm", model)
    assert kernels(model) == ["attention", "keys"]

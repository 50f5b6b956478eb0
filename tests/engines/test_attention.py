"""Attention in one function, over odd shapes and in the ways that exporters write it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from neo.contract.precision import BF16, FP32, Precision
from tests.engines.conftest import Check, kernels, schedule
from tests.models import build
from tests.thorough import times

FEW = settings(max_examples=times(10, 100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
LENGTHS = st.sampled_from([2, 3, 7, 16, 17, 31, 64, 129])
MASKS = st.sampled_from(["", "keys", "pairs", "all"])
ALL_HEADS = [0, 2, 1, 3]


def attention(
    queries: int,
    keys: int,
    width: int,
    heads: int = 2,
    *,
    batch: int = 1,
    mask: tuple[int, ...] | None = None,
    scale: str = "Div",
    keys_turned_twice: bool = False,
    joins_heads: bool = True,
    behind: Sequence[onnx.NodeProto] = (),
    weights: Mapping[str, np.ndarray] | None = None,
) -> onnx.ModelProto:
    """Inputs q, k and v (batch, tokens, heads * width), of which heads are made as in a transformer."""

    def split(name: str) -> list[onnx.NodeProto]:
        return [
            helper.make_node("Reshape", [name, f"{name}_shape"], [f"{name}_split"]),
            helper.make_node("Transpose", [f"{name}_split"], [f"{name}_heads"], perm=ALL_HEADS),
        ]

    if keys_turned_twice:
        turn = [*split("k"), helper.make_node("Transpose", ["k_heads"], ["k_turned"], perm=[0, 1, 3, 2])]
    else:
        turn = [split("k")[0], helper.make_node("Transpose", ["k_split"], ["k_turned"], perm=[0, 2, 3, 1])]
    nodes = [*split("q"), *split("v"), *turn, helper.make_node("MatMul", ["q_heads", "k_turned"], ["product"])]
    nodes.append(helper.make_node(scale, ["product", "factor"], ["scaled"]))
    last = "scaled"
    if mask is not None:
        nodes.append(helper.make_node("Add", ["scaled", "mask"], ["masked"]))
        last = "masked"
    nodes += [
        helper.make_node("Softmax", [last], ["share"], axis=-1),
        helper.make_node("MatMul", ["share", "v_heads"], ["mixed"]),
    ]
    shape: tuple[int, ...] = (batch, heads, queries, width)
    if joins_heads:
        nodes.append(helper.make_node("Transpose", ["mixed"], ["joined"], perm=ALL_HEADS))
        shape = (batch, queries, heads, width)
    nodes.append(helper.make_node("Identity", ["joined" if joins_heads else "mixed"], ["y"]))
    inputs = {name: (batch, size, heads * width) for name, size in (("q", queries), ("k", keys), ("v", keys))}
    if mask is not None:
        inputs["mask"] = mask
    factor = np.float32(width**0.5 if scale == "Div" else width**-0.5)
    constants = {"factor": np.array(factor), **(weights or {})}
    for name, size in (("q", queries), ("k", keys), ("v", keys)):
        constants[f"{name}_shape"] = np.array([batch, size, heads, width], np.int64)
    return build([*nodes, *behind], inputs, {"y": shape}, constants)


def mask_shape(masked: str, batch: int, heads: int, queries: int, keys: int) -> tuple[int, ...] | None:
    """masked: one of MASKS."""
    shapes = {"keys": (batch, 1, 1, keys), "pairs": (queries, keys), "all": (batch, heads, queries, keys)}
    return shapes.get(masked)


@pytest.mark.slow
@pytest.mark.parametrize("precision", [FP32, BF16])
@FEW
@given(
    queries=LENGTHS,
    keys=LENGTHS,
    width=st.sampled_from([12, 16, 20, 32, 36, 48, 57, 64, 80, 128]),
    heads=st.sampled_from([1, 3]),
    batch=st.sampled_from([1, 2]),
    scale=st.sampled_from(["Mul", "Div"]),
    keys_turned_twice=st.booleans(),
    joins_heads=st.booleans(),
    masked=MASKS,
    threads=st.sampled_from([1, 2]),
)
def test_attention_of_any_shape(
    agrees: Check,
    queries: int,
    keys: int,
    width: int,
    heads: int,
    batch: int,
    scale: str,
    keys_turned_twice: bool,
    joins_heads: bool,
    masked: str,
    threads: int,
    precision: Precision,
) -> None:
    model = attention(
        queries,
        keys,
        width,
        heads,
        batch=batch,
        mask=mask_shape(masked, batch, heads, queries, keys),
        scale=scale,
        keys_turned_twice=keys_turned_twice,
        joins_heads=joins_heads,
    )
    max_rel = 1e-4 if precision == FP32 else 3e-2
    assert agrees("tvm", model, threads=threads, precision=precision, max_rel=max_rel).notes == ()


@pytest.mark.parametrize("keys_turned_twice", [False, True])
def test_it_is_one_kernel_and_one_for_the_keys(keys_turned_twice: bool) -> None:
    names = kernels(attention(33, 40, 32, mask=(1, 1, 1, 40), keys_turned_twice=keys_turned_twice))
    assert any(name.startswith("attention") for name in names)
    assert not any("matmul" in name or "softmax" in name for name in names)


def test_a_width_of_hardly_a_vector_is_left_to_two_products_and_a_softmax() -> None:
    names = schedule(attention(33, 40, 6), "x86-64-v4")
    assert sum("matmul" in name for name in names) == 2


def over_itself(shape: tuple[int, ...], mask: np.ndarray) -> onnx.ModelProto:
    """Rows that are queries, keys and values at once."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["x", "turned"], ["product"]),
        helper.make_node("Add", ["product", "mask"], ["masked"]),
        helper.make_node("Softmax", ["masked"], ["share"], axis=-1),
        helper.make_node("MatMul", ["share", "x"], ["y"]),
    ]
    return build(nodes, {"x": shape}, {"y": shape}, {"mask": mask})


def test_keys_that_are_masked_out_have_no_say(run_tvm: Callable[[onnx.ModelProto, np.ndarray], np.ndarray]) -> None:
    """Not even where what is masked is huge: the mask of many exporters is the smallest number that there is."""
    keys, width = 20, 16
    mask = np.zeros((1, 1, keys), np.float32)
    mask[..., keys // 2 :] = np.finfo(np.float32).min
    x = np.random.default_rng(0).normal(size=(1, keys, width)).astype(np.float32)
    x[:, keys // 2 :] *= 1e3
    answer = run_tvm(over_itself(x.shape, mask), x)
    seen = x[0, : keys // 2].astype(np.float64)
    scores = x[0].astype(np.float64) @ seen.T
    share = np.exp(scores - scores.max(-1, keepdims=True))
    np.testing.assert_allclose(answer[0], share / share.sum(-1, keepdims=True) @ seen, rtol=1e-4, atol=1e-4)


def test_a_product_in_bf16_reads_attention_rounded(agrees: Check) -> None:
    heads, width, tokens = 2, 32, 24
    behind = [
        helper.make_node("Reshape", ["joined", "flat"], ["rows"]),
        helper.make_node("MatMul", ["rows", "w"], ["z"]),
    ]
    weights = {
        "flat": np.array([1, tokens, heads * width], np.int64),
        "w": np.random.default_rng(0).normal(size=(heads * width, 16)).astype(np.float32) / 8,
    }
    model = attention(tokens, tokens, width, heads, behind=behind, weights=weights)
    model.graph.output.append(helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, [1, tokens, 16]))
    assert agrees("tvm", model, precision=BF16, max_rel=1e-2).notes == ()


def test_scores_that_are_an_output_too_are_still_there(agrees: Check) -> None:
    model = attention(16, 16, 16)
    model.graph.output.append(helper.make_tensor_value_info("share", onnx.TensorProto.FLOAT, [1, 2, 16, 16]))
    agrees("tvm", model)


@pytest.mark.parametrize("keys", [16, 20])
def test_a_query_that_may_see_no_key_gets_the_mean(
    run_tvm: Callable[[onnx.ModelProto, np.ndarray], np.ndarray], keys: int
) -> None:
    """The smallest number added to all of its scores makes them all the same; so ONNX Runtime sees it."""
    mask = np.full((1, 1, keys), np.finfo(np.float32).min, np.float32)
    x = np.random.default_rng(0).normal(size=(1, keys, 16)).astype(np.float32)
    answer = run_tvm(over_itself(x.shape, mask), x)
    np.testing.assert_allclose(answer, np.broadcast_to(x.mean(1, keepdims=True), x.shape), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", [FP32, BF16])
@pytest.mark.parametrize("constant", ["q", "k", "v"])
def test_an_operand_may_be_constant(agrees: Check, constant: str, precision: Precision) -> None:
    """As learned queries are."""
    shapes = {"q": (1, 2, 24, 32), "k": (1, 2, 40, 32), "v": (1, 2, 40, 32)}
    nodes = [
        helper.make_node("Transpose", ["k"], ["turned"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["q", "turned"], ["product"]),
        helper.make_node("Softmax", ["product"], ["share"], axis=-1),
        helper.make_node("MatMul", ["share", "v"], ["y"]),
    ]
    known = np.random.default_rng(1).normal(size=shapes.pop(constant)).astype(np.float32)
    model = build(nodes, shapes, {"y": (1, 2, 24, 32)}, {constant: known})
    agrees("tvm", model, precision=precision, max_rel=1e-4 if precision == FP32 else 3e-2)

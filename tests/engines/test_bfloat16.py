"""bfloat16: what is rounded, what is multiplied in it, and that sums are float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import tvm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper
from tvm import te

from neo.contract.precision import BF16
from neo.contract.tensors import TensorSpec
from neo.engines.base import BuildRequest
from neo.engines.tvm.build import build as build_tvm
from neo.engines.tvm.cpu.codegen.host_passes import pipeline_of
from neo.engines.tvm.cpu.lowering.graph import lower_graph
from neo.engines.tvm.cpu.units import bfloat16
from neo.engines.tvm.cpu.units.llvm import llvm_target
from neo.errors import EngineError
from neo.targets import load_target
from tests.engines.conftest import Check, imported, to_bfloat16
from tests.models import build

ODD = st.sampled_from([2, 4, 6, 10, 16, 18, 24, 40, 64])
FEW = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def random(*shape: int) -> np.ndarray:
    return to_bfloat16(np.random.default_rng(sum(shape)).normal(size=shape))


def widened(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=20))
def test_numbers_are_rounded_to_the_nearest(values: list[float]) -> None:
    exact = np.array(values, np.float32)
    rounded = widened(bfloat16.encode(exact))
    below = to_bfloat16(exact)
    with np.errstate(over="ignore", invalid="ignore"):
        above = widened((below.view(np.uint32) >> np.uint32(16)).astype(np.uint16) + np.uint16(1))
        gaps = [np.abs(other.astype(np.float64) - exact) for other in (rounded, below, above)]
    finite = np.isfinite(rounded) & np.isfinite(above)
    assert (gaps[0] <= np.minimum(gaps[1], gaps[2]))[finite].all()


def test_ties_go_to_even_and_nan_stays_nan() -> None:
    ties = np.array([0x3F808000, 0x3F818000], np.uint32).view(np.float32)
    assert bfloat16.encode(ties).tolist() == [0x3F80, 0x3F82]
    awkward = np.array([0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001], np.uint32).view(np.float32)
    assert np.isnan(widened(bfloat16.encode(awkward))).all()
    assert widened(bfloat16.encode(np.array([np.inf, -np.inf], np.float32))).tolist() == [np.inf, -np.inf]


def test_pairs_are_neighbouring_rows_the_first_in_the_lower_half() -> None:
    array = random(2, 3, 4, 5)
    pairs = bfloat16.encode_pairs(array).view(np.uint32)
    assert pairs.shape == (2, 3, 2, 5)
    assert np.array_equal(widened((pairs & np.uint32(0xFFFF)).astype(np.uint16)), array[..., ::2, :])
    assert np.array_equal(widened((pairs >> np.uint32(16)).astype(np.uint16)), array[..., 1::2, :])


@pytest.mark.slow
@FEW
@given(
    channels=ODD,
    filters=ODD,
    size=st.integers(4, 15),
    kernel=st.sampled_from([1, 3]),
    stride=st.integers(1, 2),
    batch=st.sampled_from([1, 3]),
)
def test_convolutions_multiply_bfloat16_exactly(
    agrees: Check, channels: int, filters: int, size: int, kernel: int, stride: int, batch: int
) -> None:
    out = (size + 2 * (kernel // 2) - kernel) // stride + 1
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["y"], pads=[kernel // 2] * 4, strides=[stride] * 2)]
    weights = {"w": random(filters, channels, kernel, kernel), "b": random(filters)}
    model = build(nodes, {"x": (batch, channels, size, size)}, {"y": (batch, filters, out, out)}, weights)
    agrees("tvm", model, precision=BF16, max_rel=1e-5)


@pytest.mark.slow
@FEW
@given(rows=st.sampled_from([1, 2, 7, 16, 33]), inner=ODD, columns=st.sampled_from([1, 2, 3, 10, 16, 33, 64]))
def test_products_multiply_bfloat16_exactly(agrees: Check, rows: int, inner: int, columns: int) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    model = build(nodes, {"x": (rows, inner)}, {"y": (rows, columns)}, {"w": random(inner, columns)})
    agrees("tvm", model, precision=BF16, max_rel=1e-5)


@pytest.mark.parametrize("kernel", [3, 5])
def test_depthwise_convolutions_read_bfloat16(agrees: Check, kernel: int) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[kernel // 2] * 4, group=24)]
    model = build(nodes, {"x": (1, 24, 9, 11)}, {"y": (1, 24, 9, 11)}, {"w": random(24, 1, kernel, kernel)})
    agrees("tvm", model, precision=BF16, max_rel=1e-5)


def block(channels: int) -> onnx.ModelProto:
    """Two convolutions around a sum, a concatenation and a pooling, as networks have them."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "v"], ["c"]),
        helper.make_node("Add", ["c", "b"], ["d"]),
        helper.make_node("Concat", ["d", "b"], ["e"], axis=1),
        helper.make_node("MaxPool", ["e"], ["f"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["f", "u"], ["y"]),
    ]
    weights = {name: random(channels, depth, 1, 1) for name, depth in (("w", channels), ("v", channels))}
    weights["u"] = random(8, 2 * channels, 1, 1)
    return build(nodes, {"x": (1, channels, 8, 8)}, {"y": (1, 8, 4, 4)}, weights)


def test_values_between_operators_are_rounded_once(agrees: Check) -> None:
    agrees("tvm", block(16), precision=BF16, max_rel=2e-2)


@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool"])
def test_poolings_read_bfloat16(agrees: Check, operator: str) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Concat", ["a", "a"], ["b"], axis=1),
        helper.make_node(operator, ["b"], ["c"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["b", "v"], ["d"], strides=[2, 2]),
        helper.make_node("Conv", ["c", "v"], ["e"]),
        helper.make_node("Add", ["d", "e"], ["y"]),
    ]
    weights = {"w": random(16, 16, 1, 1), "v": random(8, 32, 1, 1)}
    model = build(nodes, {"x": (1, 16, 9, 9)}, {"y": (1, 8, 5, 5)}, weights)
    agrees("tvm", model, precision=BF16, max_rel=2e-2)
    target = load_target("x86-64-v4-bf16")
    module, _ = lower_graph(imported(model, target), target, llvm_target(target), bfloat16.unit_of(target))
    (pool,) = (f for name, f in module.functions.items() if "pool" in name.name_hint)
    assert str(pool.params[0].dtype) == bfloat16.STORAGE


@pytest.mark.parametrize(("channels", "kernel"), [(1, 3), (3, 1), (3, 7), (4, 3), (5, 3), (7, 1)])
def test_images_and_odd_numbers_of_channels(agrees: Check, channels: int, kernel: int) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[kernel // 2] * 4, strides=[2, 2])]
    model = build(
        nodes, {"x": (2, channels, 13, 15)}, {"y": (2, 16, 7, 8)}, {"w": random(16, channels, kernel, kernel)}
    )
    agrees("tvm", model, precision=BF16, max_rel=1e-5)


@pytest.mark.parametrize(("target", "instruction"), [("x86-64-v4-bf16", "vdpbf16ps"), ("graviton3", "bfdot")])
def test_the_processor_multiplies_pairs_in_one_instruction(target: str, instruction: str) -> None:
    built = load_target(target)
    unit = bfloat16.unit_of(built)
    assert unit is not None
    lanes = unit.lanes[-1]
    x, w = (te.placeholder((lanes,), bfloat16.PAIR, name=name) for name in "xw")
    total = te.placeholder((lanes,), bfloat16.FLOAT, name="total")
    added = te.compute((lanes,), lambda i: total[i] + bfloat16.dot(unit, x[i], w[i]), name="added")
    schedule = tvm.s_tir.Schedule(te.create_prim_func([x, w, total, added]))
    schedule.vectorize(schedule.get_loops(schedule.get_sblock("added"))[0])
    executable = tvm.compile(schedule.mod, target=llvm_target(built), tir_pipeline=pipeline_of(unit, 2))
    assert instruction in executable.mod.inspect_source("asm")


def test_a_processor_without_bfloat16_is_refused(tmp_path: Path) -> None:
    spec = TensorSpec("x", "float32", (1, 4))
    request = BuildRequest(tmp_path / "none.onnx", load_target("raspberry-pi-4"), (spec,), (spec,), tmp_path, BF16)
    with pytest.raises(EngineError, match="raspberry-pi-4 does not compute in bf16"):
        build_tvm(request)

"""A model's kernels are called one after the other, in memory that is planned when it is compiled."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from neo.contract.manifest import ENGINE_DIR
from neo.engines.tvm.planning.memory import Allocation, assign_offsets
from neo.errors import BundleError
from neo.runtime import load_engine
from neo.runtime.engine_folder import ALIGNMENT_BYTES, ENGINE_FILE, EngineFolder
from neo.runtime.tvm import TvmEngine
from tests.engines.conftest import build_engine_here
from tests.models import IR_VERSION, OPSET, build

SHAPE = (3, 8)
BYTES = 4 * 3 * 8


def opened(model: onnx.ModelProto, folder: Path) -> TvmEngine:
    build_engine_here("tvm", model, folder)
    engine = load_engine(folder / ENGINE_DIR, 1)
    assert isinstance(engine, TvmEngine)
    return engine


def chain(length: int) -> onnx.ModelProto:
    """So many kernels, each of the result before it."""
    names = ["x", *(f"t{index}" for index in range(1, length)), "y"]
    nodes = [helper.make_node("MatMul", [source, "w"], [result]) for source, result in pairwise(names)]
    turn, _ = np.linalg.qr(some((SHAPE[1], SHAPE[1])))
    return build(nodes, {"x": SHAPE}, {"y": SHAPE}, {"w": turn})


def some(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("kernels", [1, 2, 50])
def test_steps_one_by_one_give_the_same_answer(tmp_path: Path, kernels: int) -> None:
    engine = opened(chain(kernels), tmp_path)
    x = some()
    (whole,) = engine.run([x])
    assert len(engine.steps) == kernels
    engine.set_inputs([2 * x])
    for index in range(kernels):
        engine.call(index, index + 1)
    (stepwise,) = engine.results()
    assert not np.array_equal(stepwise, whole)
    (again,) = engine.run([2 * x])
    assert np.array_equal(stepwise, again)


def test_a_chain_needs_room_for_two_results(tmp_path: Path) -> None:
    opened(chain(50), tmp_path)
    assert EngineFolder.read(tmp_path / ENGINE_DIR).workspace == 2 * -(-BYTES // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def test_outputs_that_are_inputs_weights_or_each_other(tmp_path: Path) -> None:
    weight = some((4,))
    nodes = [
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("Identity", ["w"], ["weight"]),
        helper.make_node("Softmax", ["x"], ["once"]),
        helper.make_node("Identity", ["once"], ["twice"]),
        helper.make_node("Flatten", ["once"], ["flat"], axis=0),
        helper.make_node("Exp", ["once"], ["more"]),
    ]
    outputs = {"same": SHAPE, "weight": (4,), "once": SHAPE, "twice": SHAPE, "flat": (1, 24), "more": SHAPE}
    engine = opened(build(nodes, {"x": SHAPE}, outputs, {"w": weight}), tmp_path)
    for x in (some(), 3 * some()):
        same, got, once, twice, flat, more = engine.run([x])
        power = np.exp(x - x.max(axis=1, keepdims=True))
        expected = power / power.sum(axis=1, keepdims=True)
        assert np.array_equal(same, x)
        assert np.array_equal(got, weight)
        assert np.array_equal(once, twice)
        assert np.array_equal(once.reshape(1, 24), flat)
        np.testing.assert_allclose(once, expected, rtol=1e-5)
        np.testing.assert_allclose(more, np.exp(expected), rtol=1e-5)


def test_arrays_are_read_where_they_are_or_copied_where_they_must(tmp_path: Path) -> None:
    engine = opened(chain(1), tmp_path)
    aligned = np.zeros(SHAPE[0] * SHAPE[1] + 2 * ALIGNMENT_BYTES, np.float32)
    first = -aligned.ctypes.data % ALIGNMENT_BYTES // 4
    for start in (first, first + 1):
        x = aligned[start : start + 24].reshape(SHAPE)
        x[:] = some()
        x.flags.writeable = False
        (in_place,) = (np.array(y) for y in engine.run_in_place([x]))
        # nothing of that call is left for the next
        (other,) = engine.run([5 * some()])
        assert not np.array_equal(other, in_place)
        (copied,) = engine.run([some()])
        assert np.array_equal(in_place, copied)
    with pytest.raises(ValueError, match="broadcast"):
        engine.run_in_place([np.zeros((5, 8), np.float32)])


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_what_kernels_allocate_for_themselves_is_given_back(tmp_path: Path) -> None:
    """A recurrence has several kilobytes for its gates."""
    hidden, width, steps = 128, 64, 8
    weights = {"w": some((1, 4 * hidden, width)), "r": some((1, 4 * hidden, hidden))}
    node = helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=hidden)
    model = build([node], {"x": (steps, 1, width)}, {"y": (steps, 1, 1, hidden)}, weights)
    engine = opened(model, tmp_path)
    x = some((steps, 1, width))
    for _ in range(50):
        engine.run([x])
    before = resident_bytes()
    for _ in range(3000):
        engine.run([x])
    assert resident_bytes() - before < 4 << 20


def test_results_are_the_callers_to_keep(tmp_path: Path) -> None:
    engine = opened(chain(2), tmp_path)
    (kept,) = engine.run([some()])
    before = kept.copy()
    engine.run([7 * some()])
    assert np.array_equal(kept, before)


def test_outputs_are_what_the_code_writes_whatever_the_graph_says_of_them(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["n", "one"], ["m"]),
        helper.make_node("Greater", ["m", "n"], ["b"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("n", TensorProto.INT64, (5,))],
        [
            helper.make_tensor_value_info("m", TensorProto.INT64, ("whatever",)),
            helper.make_tensor_value_info("b", TensorProto.BOOL, (5,)),
        ],
        [helper.make_tensor("one", TensorProto.INT64, (), [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    m, b = opened(model, tmp_path).run([np.arange(5)])
    assert (m.dtype, m.tolist()) == (np.int64, [1, 2, 3, 4, 5])
    assert (b.dtype, b.tolist()) == (np.bool_, [True] * 5)


def test_what_an_earlier_version_compiled_is_refused(tmp_path: Path) -> None:
    opened(chain(1), tmp_path)
    description = tmp_path / ENGINE_DIR / ENGINE_FILE
    fields = json.loads(description.read_bytes())
    del fields["schema"], fields["steps"], fields["workspace"]
    description.write_text(json.dumps(fields))
    with pytest.raises(BundleError, match="earlier version") as refused:
        load_engine(tmp_path / ENGINE_DIR, 1)
    assert refused.value.hint == "compile the model again"


RESULTS = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 20), st.integers(0, 8)), max_size=25)


@given(RESULTS)
def test_results_that_are_needed_at_the_same_time_lie_apart(drawn: list[tuple[int, int, int]]) -> None:
    results = [Allocation(size, first, first + length) for size, first, length in drawn]
    total = assign_offsets(results)
    for result in results:
        assert result.offset % ALIGNMENT_BYTES == 0
        assert 0 <= result.offset <= result.offset + result.size <= total
        for other in results:
            apart = result.end <= other.offset or other.end <= result.offset
            assert result is other or not result.is_live_with(other) or apart
    at_once = [
        sum(-(-b.size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES for b in results if b.first <= step <= b.last)
        for step in range(30)
    ]
    assert max(at_once) <= total <= sum(-(-b.size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES for b in results)


def test_a_place_between_two_others_is_used() -> None:
    large, small, fits = Allocation(640, 0, 9), Allocation(128, 0, 3), Allocation(64, 4, 9)
    last = Allocation(64, 0, 9)
    assert assign_offsets([large, small, fits, last]) == 640 + 128 + 64
    assert fits.offset in {640, 704}

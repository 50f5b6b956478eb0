"""Graphs that are cut between TVM and ONNX Runtime: they answer as one, and they are cut only where it pays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from neo.contract.device import mismatches
from neo.engines.tvm.importing.onnx_facts import read_facts
from neo.engines.tvm.importing.partition import MOST_SEGMENTS, ONNXRUNTIME, TVM, partition
from neo.engines.tvm.importing.refusal import Refused
from neo.errors import BundleError, EngineError
from neo.runtime import load_engine
from neo.runtime.engine_folder import ENGINE_FILE, EngineFolder
from tests.engines.conftest import Check, build_engine_here
from tests.engines.reference import reference_outputs
from tests.models import IR_VERSION, OPSET, build


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(0, 0.4, shape).astype(np.float32)


def value(name: str, shape: list[int | str] | None, dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def model_of(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    weights: dict[str, np.ndarray],
) -> onnx.ModelProto:
    """As tests.models.build, for outputs of any type and for the operators of ai.onnx.ml."""
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", 3)]
    graph = helper.make_graph(nodes, "test", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def engines_of(folder: Path) -> list[str]:
    top = EngineFolder.read(folder / "engine")
    return [EngineFolder.read(folder / "engine" / name).engine for name in top.segments]


def answers(model: onnx.ModelProto, arrays: list[np.ndarray], folder: Path, threads: int = 2) -> list[np.ndarray]:
    """Twice, and the same: the second run finds what the first left in memory that the engines share."""
    engine = load_engine(folder / "engine", threads)
    first = engine.run(arrays)
    engine.run([np.zeros_like(array) for array in arrays])
    second = engine.run(arrays)
    engine.close()
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    for want, got in zip(reference_outputs(model, arrays), second, strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    return second


def test_the_end_of_a_detector_runs_in_onnx_runtime(tmp_path: Path) -> None:
    """Boxes and scores by TVM, the choice among them, of a number that depends on the data, by ONNX Runtime."""
    weights = {
        "w": random(32, 3, 3, 3),
        "wb": random(4, 32, 1, 1),
        "ws": random(1, 32, 1, 1),
        "boxes_shape": np.array([1, 36, 4]),
        "scores_shape": np.array([1, 1, 36]),
        "limit": np.array([5]),
        "overlap": np.array([0.3], np.float32),
        "least": np.array([0.0], np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "wb"], ["b"]),
        helper.make_node("Reshape", ["b", "boxes_shape"], ["boxes"]),
        helper.make_node("Conv", ["r", "ws"], ["s"]),
        helper.make_node("Reshape", ["s", "scores_shape"], ["scores"]),
        helper.make_node("NonMaxSuppression", ["boxes", "scores", "limit", "overlap", "least"], ["chosen"]),
    ]
    outputs = [value("boxes", [1, 36, 4]), value("chosen", ["n", 3], TensorProto.INT64)]
    model = model_of(nodes, [value("x", [1, 3, 6, 6])], outputs, weights)
    built = build_engine_here("tvm", model, tmp_path)
    assert engines_of(tmp_path) == [TVM, ONNXRUNTIME]
    assert list(built.needs) == ["onnxruntime"]
    assert "NonMaxSuppression" in built.notes[0]
    assert "it sorts" in built.notes[0]
    _, chosen = answers(model, [random(1, 3, 6, 6)], tmp_path)
    assert 0 < len(chosen) <= 5


def test_an_operator_in_the_middle_is_passed_on_both_sides(tmp_path: Path) -> None:
    weights = {"w1": random(16, 64), "w2": random(64, 8), "k": np.array([40])}
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("Tanh", ["a"], ["t"]),
        helper.make_node("TopK", ["t", "k"], ["best", "where"], axis=1, largest=0),
        helper.make_node("ReduceSum", ["best"], ["sum"], keepdims=1),
        helper.make_node("Mul", ["t", "sum"], ["m"]),
        helper.make_node("MatMul", ["m", "w2"], ["y"]),
    ]
    model = build(nodes, {"x": (3, 16)}, {"y": (3, 8)}, weights)
    build_engine_here("tvm", model, tmp_path)
    assert engines_of(tmp_path) == [TVM, ONNXRUNTIME, TVM]
    for threads in (1, 2):
        answers(model, [random(3, 16)], tmp_path, threads)


def test_a_cell_with_peepholes_is_left_to_onnx_runtime(tmp_path: Path) -> None:
    weights = {
        "w": random(1, 32, 12),
        "r": random(1, 32, 8),
        "b": random(1, 64),
        "p": random(1, 24),
        "head": random(8, 500),
        "first": random(6, 12),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["a"]),
        helper.make_node("LSTM", ["a", "w", "r", "b", "", "", "", "p"], ["steps"], hidden_size=8),
        helper.make_node("MatMul", ["steps", "head"], ["y"]),
    ]
    model = build(nodes, {"x": (4, 1, 6)}, {"y": (4, 1, 1, 500)}, weights)
    built = build_engine_here("tvm", model, tmp_path)
    assert engines_of(tmp_path) == [ONNXRUNTIME, TVM]
    assert "peepholes" in built.notes[0]
    answers(model, [random(4, 1, 6)], tmp_path)


def test_a_tree_behind_a_network(tmp_path: Path) -> None:
    """An operator of another domain than ONNX's own."""
    tree: dict[str, Any] = {
        "nodes_treeids": [0, 0, 0],
        "nodes_nodeids": [0, 1, 2],
        "nodes_featureids": [0, 0, 0],
        "nodes_values": [0.1, 0.0, 0.0],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
        "nodes_truenodeids": [1, 0, 0],
        "nodes_falsenodeids": [2, 0, 0],
        "target_treeids": [0, 0],
        "target_nodeids": [1, 2],
        "target_ids": [0, 0],
        "target_weights": [-1.0, 1.0],
        "n_targets": 1,
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("TreeEnsembleRegressor", ["r"], ["y"], domain="ai.onnx.ml", **tree),
    ]
    model = model_of(nodes, [value("x", [5, 20])], [value("y", [5, 1])], {"w": random(20, 30)})
    build_engine_here("tvm", model, tmp_path)
    assert engines_of(tmp_path) == [TVM, ONNXRUNTIME]
    (y,) = answers(model, [random(5, 20)], tmp_path)
    assert set(y.ravel()) == {-1.0, 1.0}


def test_a_node_that_only_the_importer_refuses_is_found(tmp_path: Path) -> None:
    weights = {"w": random(24, 3, 3, 3), "sizes": np.array([9, 9])}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Resize", ["c", "", "", "sizes"], ["y"], mode="linear", axes=[2, 3]),
    ]
    model = model_of(nodes, [value("x", [1, 3, 6, 6])], [value("y", [1, 24, 9, 9])], weights)
    model.opset_import[0].version = 18
    build_engine_here("tvm", model, tmp_path)
    assert engines_of(tmp_path) == [TVM, ONNXRUNTIME]
    answers(model, [random(1, 3, 6, 6)], tmp_path)


def test_a_model_with_little_for_tvm_is_refused_with_the_reason(tmp_path: Path) -> None:
    weights = {"w": random(1, 32, 12), "r": random(1, 32, 8), "p": random(1, 24), "head": random(8, 2)}
    nodes = [
        helper.make_node("LSTM", ["x", "w", "r", "", "", "", "", "p"], ["steps"], hidden_size=8, name="/rnn/lstm"),
        helper.make_node("MatMul", ["steps", "head"], ["y"]),
    ]
    model = build(nodes, {"x": (4, 1, 12)}, {"y": (4, 1, 1, 2)}, weights)
    with pytest.raises(EngineError, match=r"LSTM \(/rnn/lstm\): it has peepholes; the rest has 2%") as caught:
        build_engine_here("tvm", model, tmp_path)
    assert "onnxruntime" in caught.value.hint


def test_a_device_without_the_second_engine_does_not_fit(tmp_path: Path) -> None:
    from dataclasses import replace

    from tests.contract.test_device import DEVICE, REQUIRES

    requires = replace(REQUIRES, engines={"onnxruntime": ">=1.30"})
    tvm_only = replace(DEVICE, engines={"tvm": "0.1"})
    (reason,) = mismatches(requires, "tvm", "0.1", tvm_only)
    assert reason == "the device has no onnxruntime engine (it has: tvm)"
    (reason,) = mismatches(requires, "tvm", "0.1", replace(DEVICE, engines={"tvm": "0.1", "onnxruntime": "1.29"}))
    assert reason == "needs the onnxruntime runtime >=1.30, the device has 1.29"
    assert not mismatches(requires, "tvm", "0.1", replace(DEVICE, engines={"tvm": "0.1", "onnxruntime": "1.30"}))


def test_segments_that_do_not_fit_together_are_no_engine(tmp_path: Path) -> None:
    weights = {"w": random(16, 64), "k": np.array([4])}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("TopK", ["a", "k"], ["y", "i"])]
    build_engine_here("tvm", build(nodes, {"x": (3, 16)}, {"y": (3, 4)}, weights), tmp_path)
    path = tmp_path / "engine" / ENGINE_FILE
    description = json.loads(path.read_bytes())
    for segments in (description["segments"][::-1], description["segments"][:1], ["../engine"]):
        path.write_text(json.dumps({**description, "segments": segments}))
        with pytest.raises(BundleError):
            load_engine(tmp_path / "engine", 1)


def test_chains_of_segments_are_convex_and_tiny_ones_join_their_neighbours() -> None:
    """MatMul, then (TopK, small MatMul, TopK), then MatMul: nothing is gained by giving the small one to TVM."""
    weights = {"w1": random(64, 64), "w2": random(64, 1), "w3": random(64, 64), "k": np.array([64])}
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("TopK", ["a", "k"], ["b", "i"]),
        helper.make_node("MatMul", ["b", "w2"], ["c"]),
        helper.make_node("Mul", ["b", "c"], ["d"]),
        helper.make_node("TopK", ["d", "k"], ["e", "j"]),
        helper.make_node("Add", ["e", "a"], ["f"]),
        helper.make_node("MatMul", ["f", "w3"], ["y"]),
    ]
    model = onnx.shape_inference.infer_shapes(build(nodes, {"x": (1, 64)}, {"y": (1, 64)}, weights))
    segments = partition(model.graph, read_facts(model.graph), {1: "", 4: ""})
    assert [(segment.engine, segment.nodes) for segment in segments] == [
        (TVM, (0,)),
        (ONNXRUNTIME, (1, 2, 3, 4)),
        (TVM, (5, 6)),
    ]
    assert [segment.inputs for segment in segments] == [("x",), ("a",), ("e", "a")]
    assert [segment.outputs for segment in segments] == [("a",), ("e",), ("y",)]


def test_a_graph_is_not_cut_into_many_pieces() -> None:
    weights = {"w": random(32, 32), "k": np.array([32])}
    nodes = []
    for i in range(MOST_SEGMENTS):
        nodes.append(helper.make_node("MatMul", [f"t{i}" if i else "x", "w"], [f"m{i}"]))
        nodes.append(helper.make_node("TopK", [f"m{i}", "k"], [f"t{i + 1}", f"i{i}"]))
    model = build(nodes, {"x": (1, 32)}, {f"t{MOST_SEGMENTS}": (1, 32)}, weights)
    model = onnx.shape_inference.infer_shapes(model)
    refused = dict.fromkeys(range(1, len(nodes), 2), "")
    with pytest.raises(Refused, match="14 segments"):
        partition(model.graph, read_facts(model.graph), refused)


def test_what_a_graph_inside_a_node_reads_is_read_by_the_node() -> None:
    inner = helper.make_graph(
        [helper.make_node("Add", ["outer", "own"], ["sum"])],
        "inner",
        [],
        [value("sum", [1])],
        [numpy_helper.from_array(np.ones(1, np.float32), "own")],
    )
    node = helper.make_node("If", ["condition"], ["y"], then_branch=inner, else_branch=inner)
    from neo.engines.tvm.importing.onnx_facts import read_by

    assert set(read_by(node)) == {"condition", "outer"}


def test_a_split_engine_agrees_with_the_whole_graph_in_either_engine(engine: str, agrees: Check) -> None:
    weights = {"w1": random(16, 64), "w2": random(64, 8), "k": np.array([64])}
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("TopK", ["a", "k"], ["best", "where"], axis=1),
        helper.make_node("MatMul", ["best", "w2"], ["y"]),
    ]
    agrees(engine, build(nodes, {"x": (3, 16)}, {"y": (3, 8)}, weights))


def test_words_before_a_network_are_read_by_onnx_runtime(tmp_path: Path) -> None:
    """Strings come in, are looked up by ONNX Runtime, go through a network of TVM's, and one comes out."""
    ml = {"domain": "ai.onnx.ml", "keys_strings": ["a", "b"]}
    nodes = [
        helper.make_node("LabelEncoder", ["words"], ["codes"], values_floats=[1.0, -1.0], default_float=0.0, **ml),
        helper.make_node("MatMul", ["codes", "w1"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w2"], ["scores"]),
        helper.make_node("LabelEncoder", ["words"], ["echo"], values_strings=["A", "B"], default_string="?", **ml),
    ]
    model = model_of(
        nodes,
        [value("words", [1, 16], TensorProto.STRING)],
        [value("scores", [1, 4]), value("echo", [1, 16], TensorProto.STRING)],
        {"w1": random(16, 256), "w2": random(256, 4)},
    )
    built = build_engine_here("tvm", model, tmp_path)
    assert engines_of(tmp_path) == [ONNXRUNTIME, TVM]
    assert "strings" in built.notes[0] or "ai.onnx.ml" in built.notes[0]
    engine = load_engine(tmp_path / "engine", 2)
    for words in (["a", "b"] * 8, ["c"] * 15 + ["a"]):
        array = np.array([words], object)
        scores, echo = engine.run([array])
        wanted, echoed = reference_outputs(model, [array])
        np.testing.assert_allclose(scores, wanted, rtol=1e-4, atol=1e-5)
        assert echo.tolist() == echoed.tolist()
    engine.close()


def test_a_standard_operator_on_strings_is_not_tvms(tmp_path: Path) -> None:
    model = model_of(
        [helper.make_node("Identity", ["x"], ["y"])],
        [value("x", [2], TensorProto.STRING)],
        [value("y", [2], TensorProto.STRING)],
        {},
    )
    with pytest.raises(EngineError, match="works on strings"):
        build_engine_here("tvm", model, tmp_path)

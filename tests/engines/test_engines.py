"""What every engine must pass, and what only one of them does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from neo.contract.tensors import TensorSpec
from neo.engines.base import BuildRequest
from neo.engines.confined import build_engine
from neo.engines.onnxruntime.build import build as build_onnxruntime
from neo.engines.tvm.build import build as build_tvm
from neo.errors import EngineError, ModelError
from neo.runtime import load_engine
from neo.runtime.engine_folder import EngineFolder
from neo.targets import load_target
from tests.engines.conftest import Check, build_engine_here
from tests.engines.reference import specs
from tests.models import build, classifier

ELF_MACHINE_AARCH64 = 183


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(0, 0.3, shape).astype(np.float32)


def test_a_classifier_answers_as_the_unoptimised_graph(engine: str, agrees: Check, tmp_path: Path) -> None:
    agrees(engine, onnx.load(classifier(tmp_path / "classifier.onnx")))


@pytest.mark.parametrize("threads", [1, 3])
def test_the_number_of_threads_does_not_change_the_answer(engine: str, agrees: Check, threads: int) -> None:
    weights = {"w": random(33, 7, 3, 3)}
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])]
    model = build(nodes, {"x": (1, 7, 29, 31)}, {"y": (1, 33, 29, 31)}, weights)
    agrees(engine, model, threads=threads)


def test_two_inputs_and_two_outputs_keep_their_order(engine: str, agrees: Check) -> None:
    nodes = [
        helper.make_node("Sub", ["b", "a"], ["difference"]),
        helper.make_node("Mul", ["a", "a"], ["square"]),
    ]
    agrees(engine, build(nodes, {"a": (3, 5), "b": (3, 5)}, {"square": (3, 5), "difference": (3, 5)}))


def test_one_tensor_can_be_input_weight_and_output(engine: str, agrees: Check) -> None:
    weights = {"w": random(40, 40)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["once"]),
        helper.make_node("MatMul", ["once", "w"], ["twice"]),
    ]
    agrees(engine, build(nodes, {"x": (2, 40)}, {"once": (2, 40), "twice": (2, 40)}, weights))


def test_a_residual_block_with_strides_and_groups(engine: str, agrees: Check) -> None:
    weights = {"w1": random(24, 12, 3, 3), "w2": random(24, 1, 5, 5), "w3": random(24, 12, 1, 1), "b": random(24)}
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b"], ["c1"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], pads=[2, 2, 2, 2], group=24),
        helper.make_node("Conv", ["x", "w3"], ["c3"], strides=[2, 2]),
        helper.make_node("Add", ["c2", "c3"], ["s"]),
        helper.make_node("HardSwish", ["s"], ["h"]),
        helper.make_node("GlobalAveragePool", ["h"], ["y"]),
    ]
    agrees(engine, build(nodes, {"x": (2, 12, 17, 19)}, {"y": (2, 24, 1, 1)}, weights))


def test_a_transformer_block(engine: str, agrees: Check) -> None:
    weights = {"q": random(32, 32), "k": random(32, 32), "v": random(32, 32), "g": random(32) + 1, "z": random(32)}
    nodes = [
        *(helper.make_node("MatMul", ["x", name], [f"x{name}"]) for name in "qkv"),
        helper.make_node("Transpose", ["xk"], ["xkt"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["xq", "xkt"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["p"], axis=-1),
        helper.make_node("MatMul", ["p", "xv"], ["a"]),
        helper.make_node("Add", ["a", "x"], ["s"]),
        helper.make_node("LayerNormalization", ["s", "g", "z"], ["y"], axis=-1, epsilon=1e-5),
    ]
    agrees(engine, build(nodes, {"x": (1, 11, 32)}, {"y": (1, 11, 32)}, weights))


def build_with(make: object, model: onnx.ModelProto, folder: Path, target: str = "host") -> EngineFolder:
    folder.mkdir(exist_ok=True)
    onnx.save(model, folder / "in.onnx")
    engine = folder / "engine"
    engine.mkdir()
    inputs, outputs = specs(model.graph.input), specs(model.graph.output)
    make(BuildRequest(folder / "in.onnx", load_target(target), inputs, outputs, engine))  # type: ignore[operator]
    return EngineFolder.read(engine)


def test_weights_are_files_of_their_own_and_shared_ones_are_stored_once(tmp_path: Path) -> None:
    weights = {"w": random(192, 192), "same": random(192, 192), "small": random(192)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("MatMul", ["a", "same"], ["b"]),
        helper.make_node("Add", ["b", "small"], ["y"]),
    ]
    folder = build_with(build_tvm, build(nodes, {"x": (1, 192)}, {"y": (1, 192)}, weights), tmp_path)
    assert sorted((weight.file, weight.shape) for weight in folder.weights) == [
        ("weights/0000.bin", (192, 192)),
        ("weights/0001.bin", (192,)),
    ]
    assert (tmp_path / "engine" / "model.so").stat().st_size < weights["w"].nbytes


def test_a_constant_without_elements_is_an_output_like_others(tmp_path: Path) -> None:
    node = helper.make_node("Identity", ["nothing"], ["y"])
    keep = helper.make_node("Relu", ["x"], ["z"])
    weights = {"nothing": np.zeros((0, 3), np.float32)}
    model = build([node, keep], {"x": (2,)}, {"y": (0, 3), "z": (2,)}, weights)
    build_engine_here("tvm", model, tmp_path)
    nothing, _ = load_engine(tmp_path / "engine", 1).run([np.ones(2, np.float32)])
    assert nothing.shape == (0, 3)


def test_a_cross_compiled_library_is_for_the_target(tmp_path: Path) -> None:
    model = classifier(tmp_path / "model.onnx")
    shape = (TensorSpec("x", "float32", (1, 1, 8, 8)),), (TensorSpec("y", "float32", (1, 10)),)
    for folder in ("engine", "scratch"):
        (tmp_path / folder).mkdir()
    request = BuildRequest(model, load_target("raspberry-pi-4"), *shape, tmp_path / "engine")
    build_engine("tvm", request, tmp_path / "scratch")
    for library in ("model.so", "libtvm_runtime.so"):
        header = (tmp_path / "engine" / library).read_bytes()[:20]
        assert int.from_bytes(header[18:20], "little") == ELF_MACHINE_AARCH64


def test_tvm_names_the_operator_it_cannot_take(tmp_path: Path) -> None:
    nodes = [helper.make_node("NonMaxSuppressionX", ["x"], ["y"], domain="my.domain")]
    graph = helper.make_graph(nodes, "g", *([helper.make_tensor_value_info(n, 1, [1])] for n in "xy"))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("my.domain", 1)])
    with pytest.raises(EngineError, match="NonMaxSuppressionX"):
        build_with(build_tvm, model, tmp_path)


def test_tvm_asks_for_fixed_shapes(tmp_path: Path) -> None:
    model = build([helper.make_node("Relu", ["x"], ["y"])], {"x": ("N", 3)}, {"y": ("N", 3)})
    with pytest.raises(EngineError, match="fixed shapes") as caught:
        build_with(build_tvm, model, tmp_path)
    assert "--dim N=1" in caught.value.hint


def test_onnxruntime_refuses_what_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "engine").mkdir()
    (tmp_path / "in.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match="damaged"):
        build_onnxruntime(BuildRequest(tmp_path / "in.onnx", load_target("host"), (), (), tmp_path / "engine"))


@pytest.mark.parametrize("operator", ["Sum", "Max", "Min", "Mean"])
def test_operators_of_any_number_of_inputs(engine: str, agrees: Check, operator: str) -> None:
    nodes = [helper.make_node(operator, ["a", "b", "c"], ["y"]), helper.make_node(operator, ["y"], ["z"])]
    shapes = {"a": (2, 3, 4), "b": (1, 3, 1), "c": (4,)}
    agrees(engine, build(nodes, shapes, {"y": (2, 3, 4), "z": (2, 3, 4)}))

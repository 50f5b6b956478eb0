"""Small ONNX models with random weights, for tests that need a model and not a framework."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 10


def build(
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, Sequence[int | str]],
    outputs: dict[str, Sequence[int | str]],
    weights: dict[str, np.ndarray] | None = None,
) -> onnx.ModelProto:
    """A checked model; all inputs and outputs are float32."""
    initializers = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in outputs.items()],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model


def colours(path: Path) -> Path:
    """An encoder and a decoder: words string (1, 2) -> number int64 (1, 2), opposite string (1, 2). It knows red and
    green; any other word is number 9, and its own opposite is "?".
    """
    known, opposite = ["red", "green"], ["green", "red"]
    encode = {"domain": "ai.onnx.ml", "keys_strings": known, "values_int64s": [0, 1], "default_int64": 9}
    decode = {"domain": "ai.onnx.ml", "keys_strings": known, "values_strings": opposite, "default_string": "?"}
    graph = helper.make_graph(
        [
            helper.make_node("LabelEncoder", ["words"], ["number"], **encode),
            helper.make_node("LabelEncoder", ["words"], ["opposite"], **decode),
        ],
        "colours",
        [helper.make_tensor_value_info("words", TensorProto.STRING, [1, 2])],
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, [1, 2]),
            helper.make_tensor_value_info("opposite", TensorProto.STRING, [1, 2]),
        ],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION), path)
    return path


def two_inputs(path: Path) -> Path:
    """The sum of two: left and right, float32 (2, 3) -> y float32 (2, 3)."""
    nodes = [helper.make_node("Add", ["left", "right"], ["y"])]
    onnx.save(build(nodes, {"left": (2, 3), "right": (2, 3)}, {"y": (2, 3)}), path)
    return path


def product(path: Path, columns: int) -> Path:
    """A matrix of 256 bytes for each column: x float32 (1, 64) -> y float32 (1, columns)."""
    weights = {"w": np.random.default_rng(0).normal(size=(64, columns)).astype(np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    onnx.save(build(nodes, {"x": (1, 64)}, {"y": (1, columns)}, weights), path)
    return path


def classifier(path: Path, seed: int = 0) -> Path:
    """Convolution, batch norm, ReLU, pooling, dense, softmax: x float32 (1, 1, 8, 8) -> y float32 (1, 10)."""
    rng = np.random.default_rng(seed)

    def random(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.3, shape).astype(np.float32)

    weights = {
        "w1": random(16, 1, 3, 3),
        "b1": random(16),
        "scale": rng.uniform(0.5, 1.5, 16).astype(np.float32),
        "shift": random(16),
        "mean": random(16),
        "var": rng.uniform(0.5, 1.5, 16).astype(np.float32),
        "w2": random(16 * 4 * 4, 10),
        "b2": random(10),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "var"], ["n"]),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w2", "b2"], ["g"]),
        helper.make_node("Softmax", ["g"], ["y"], axis=-1),
    ]
    onnx.save(build(nodes, {"x": (1, 1, 8, 8)}, {"y": (1, 10)}, weights), path)
    return path

"""One step, or a few, as an ONNX model of their own in ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from neo.contract.tensors import TensorSpec
from neo.processing import answer, image
from neo.processing.answer.state import Answer, AnswerStep
from neo.processing.graph import Graph
from neo.processing.image.state import Image, ImageStep
from neo.processing.tables import Table, read_step


def image_step(**values: Any) -> ImageStep:
    table = Table(values, "test")
    step = read_step(table, image.READERS)
    table.finish()
    return step


def answer_step(**values: Any) -> AnswerStep:
    table = Table(values, "test")
    step = read_step(table, answer.READERS)
    table.finish()
    return step


def run_image_steps(steps: list[ImageStep], pixels: np.ndarray, start: Image) -> tuple[np.ndarray, np.ndarray, Image]:
    """-> (what the nodes make of it, what numpy makes of it, the image behind)."""
    graph = Graph("t", [])
    value, expected, state = "x", pixels, start
    for step in steps:
        value = step.emit(graph, value, state)
        expected = step.reference(expected, state)
        state = step.after(state)
    graph.name_last(value, "y")
    (actual,) = _run(graph, {"x": pixels}, [TensorSpec("y", state.dtype, state.shape)])
    assert actual.shape == expected.shape == state.shape
    assert str(actual.dtype) == state.dtype
    return actual, expected, state


def run_answer_steps(
    steps: list[AnswerStep], arrays: dict[str, np.ndarray]
) -> tuple[list[Any], list[Any], list[Answer]]:
    graph = Graph("t", [])
    values, expected = tuple(arrays), tuple(arrays.values())
    state = tuple(Answer(TensorSpec(name, str(a.dtype), a.shape)) for name, a in arrays.items())
    for step in steps:
        values = step.emit(graph, values, state)
        expected = step.reference(expected)
        state = step.after(state)
    for value, behind in zip(values, state, strict=True):
        graph.name_last(value, f"out-{behind.spec.name}")
    specs = [TensorSpec(f"out-{s.spec.name}", s.spec.dtype, s.spec.shape) for s in state]
    actual = _run(graph, arrays, specs)
    for array, want, behind in zip(actual, expected, state, strict=True):
        assert array.shape == want.shape == behind.spec.shape
        assert str(array.dtype) == behind.spec.dtype
    return actual, list(expected), list(state)


def _run(graph: Graph, feeds: dict[str, np.ndarray], outputs: list[TensorSpec]) -> list[np.ndarray]:
    def value_info(name: str, dtype: str, shape: tuple[Any, ...]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)

    inputs = [value_info(name, str(array.dtype), array.shape) for name, array in feeds.items()]
    answers = [value_info(spec.name, spec.dtype, spec.shape) for spec in outputs]
    built = helper.make_graph(graph.nodes, "t", inputs, answers, graph.constants)
    model = helper.make_model(built, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run([spec.name for spec in outputs], feeds)

"""Adds the steps as nodes around an ONNX model: a file in, a file out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
from onnx import helper

from neo.contract.strings import numpy_dtype
from neo.contract.tensors import TensorSpec
from neo.errors import UnsupportedModel
from neo.onnx_tools.files import load, save
from neo.onnx_tools.walk import subgraphs
from neo.processing.binding import IMAGE, Binding
from neo.processing.documents import Processing
from neo.processing.graph import Graph
from neo.processing.text import TextPreprocess
from neo.processing.tokenizers.state import DOMAIN

# first opset in which all operators that the steps use have their present form
OPSET = 13
UPGRADED_OPSET = 17
_INNER = "model/"


def attach(model: Path, processing: Processing, binding: Binding, path: Path) -> None:
    """Write the model with the steps to path, which is in the model's folder: external data stays where it is.

    Raises UnsupportedModel for a model in an old opset that ONNX cannot upgrade.
    """
    loaded = _modern(load(model, weights=False))
    graph = loaded.graph
    used = set(_names(graph))
    inner = _make_way(graph, binding, used)
    before, after = Graph("preprocess", used), Graph("postprocess", used)
    if isinstance(processing.preprocess, TextPreprocess):
        loaded.opset_import.append(helper.make_opsetid(DOMAIN, 1))
        for name, value in processing.preprocess.emit(before, processing.preprocess.name, binding.fed).items():
            before.name_last(value, inner[name])
    elif processing.preprocess is not None:
        value = processing.preprocess.name
        for step, image in zip(processing.preprocess.steps, binding.images, strict=False):
            value = step.emit(before, value, image)
        before.name_last(value, inner[binding.fed[IMAGE].name])
    if processing.postprocess is not None:
        values = tuple(inner[spec.name] for spec in binding.taken)
        for answer_step, answers in zip(processing.postprocess.steps, binding.answers, strict=False):
            values = answer_step.emit(after, values, answers)
        for value, answer in zip(values, binding.answers[-1], strict=True):
            after.name_last(value, answer.spec.name)
    nodes = [*before.nodes, *graph.node, *after.nodes]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*before.constants, *after.constants])
    _set_interface(graph, binding, inner)
    save(loaded, path)


def _modern(model: onnx.ModelProto) -> onnx.ModelProto:
    version = next((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), 1)
    if version >= OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, UPGRADED_OPSET)
    except (RuntimeError, ValueError) as error:
        raise UnsupportedModel(
            f"the model is in ONNX opset {version}, which pre- and post-processing cannot be added to, and it cannot be"
            f" upgraded: {error}",
            hint=f"export it with opset {OPSET} or later",
        ) from error


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    """Names of all values, those in subgraphs included."""
    for value in (*graph.input, *graph.output, *graph.initializer):
        yield value.name
    for tensor in graph.sparse_initializer:
        yield tensor.values.name
    for node in graph.node:
        yield from (*node.input, *node.output)
        for subgraph in subgraphs(node):
            yield from _names(subgraph)


def _make_way(graph: onnx.GraphProto, binding: Binding, used: set[str]) -> dict[str, str]:
    """Rename the inputs and outputs that steps are attached to, and values with a name that the steps need; -> old name
    -> new name.
    """
    wanted = {spec.name for spec in binding.taken} | set(binding.new_names)
    wanted |= {spec.name for spec in binding.fed.values()}
    inner = {}
    for name in sorted(wanted & used):
        inner[name] = _INNER + name
        while inner[name] in used:
            inner[name] = _INNER + inner[name]
        used.add(inner[name])
    _rename(graph, inner)
    return inner


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """In subgraphs too: ONNX does not allow them to reuse a name of the graph around them."""
    for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        value.name = names.get(value.name, value.name)
    for tensor in graph.sparse_initializer:
        tensor.values.name = names.get(tensor.values.name, tensor.values.name)
    for annotation in graph.quantization_annotation:
        annotation.tensor_name = names.get(annotation.tensor_name, annotation.tensor_name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for subgraph in subgraphs(node):
            _rename(subgraph, names)


def _set_interface(graph: onnx.GraphProto, binding: Binding, inner: Mapping[str, str]) -> None:
    """Set the inputs and outputs of the result; the types of those of the original model become value_info."""
    within = (*binding.taken, *binding.fed.values())
    graph.value_info.extend(_value_info(spec, inner[spec.name]) for spec in within)
    initial = {tensor.name for tensor in graph.initializer}
    learnt = [value for value in graph.input if value.name in initial]
    del graph.input[:], graph.output[:]
    graph.input.extend([*(_value_info(spec, spec.name) for spec in binding.inputs), *learnt])
    graph.output.extend(_value_info(spec, spec.name) for spec in binding.outputs)


def _value_info(spec: TensorSpec, name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(numpy_dtype(spec.dtype)), spec.shape)

"""Frozen TensorFlow graphs (.pb) to ONNX: a GraphDef whose variables have become constants."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError  # type: ignore[import-untyped,unused-ignore]

from neo.contract.tensors import TensorSpec
from neo.errors import InputSpecError, ModelError, UnsupportedModel, UsageError
from neo.frontends.base import ConversionRequest, SourceModel
from neo.frontends.failures import first_line
from neo.frontends.shapes import BATCH, fix_inputs
from neo.frontends.tensorflow.export import convert_function, declared_spec
from neo.frontends.tensorflow.graph_function import graph_function
from neo.frontends.tensorflow.operators import reached_operators, refuse_side_effects
from neo.frontends.tensorflow.reach import node_of, reachable

_FED = frozenset(["Placeholder", "PlaceholderV2"])
_VARIABLES = frozenset(["Variable", "VariableV2", "VarHandleOp"])
# they end a branch, but nobody wants to read them
_NO_OUTPUTS = _FED | _VARIABLES | frozenset(["Const", "NoOp", "Assert", "PlaceholderWithDefault"])
_LISTED = 12


def convert(request: ConversionRequest) -> SourceModel:
    """request.source: a GraphDef. request.outputs: the tensors to answer with, needed unless one node alone is read
    by no other. Inputs are the placeholders that these depend on; a tensor that request.inputs names beside them is
    fed in its place.

    Raises UsageError for outputs that are missing or unknown, listing candidates, InputSpecError for unknown inputs,
    ModelError for a damaged file or one with variables, UntrustedModel for operators that reach files.
    """
    path = request.source
    graph = _read(path)
    nodes = {node.name: node for node in graph.node}
    if not request.outputs:
        _refuse_variables(path, graph.node)
    outputs = request.outputs or _only_output(path, nodes)
    _check_names(nodes, outputs, request)
    named = [spec.name for spec in request.inputs]
    kept = reachable(nodes, outputs, named)
    _refuse_variables(path, kept)
    refuse_side_effects(path, reached_operators(graph, kept))
    feeds = [node.name for node in graph.node if node in kept and node.op in _FED]
    feeds = [*feeds, *(name for name in named if name not in feeds)]
    function = _function(path, graph, feeds, outputs)
    given = {spec.name: spec for spec in request.inputs}
    declared = tuple(
        _declared(name, tensor, given.get(name)) for name, tensor in zip(feeds, function.inputs, strict=True)
    )
    inputs = fix_inputs(declared, request.inputs, request.dims, nameless={BATCH})

    def call(*values: Any) -> list[Any]:
        return list(function(*values))

    return convert_function(call, inputs, outputs, request.scratch / "model.onnx", f"tensorflow {tf.__version__}")


def _read(path: Path) -> Any:
    graph = tf.compat.v1.GraphDef()
    try:
        graph.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ModelError(
            f"{path} is a truncated or damaged TensorFlow graph", hint="copy or download it again"
        ) from error
    return graph


def _only_output(path: Path, nodes: dict[str, Any]) -> tuple[str, ...]:
    read = {node_of(tensor) for node in nodes.values() for tensor in node.input}
    ends = tuple(name for name, node in nodes.items() if name not in read and node.op not in _NO_OUTPUTS)
    if len(ends) == 1:
        return ends
    listed = ", ".join(ends[-_LISTED:]) or "none that looks like one"
    raise UsageError(
        f"{path} is a frozen graph, which does not say what its outputs are; no other node reads: {listed}",
        hint=f"name the ones you want: --outputs {ends[-1] if ends else 'NAME'}",
        details={"candidates": list(ends)},
    )


def _check_names(nodes: dict[str, Any], outputs: tuple[str, ...], request: ConversionRequest) -> None:
    for name in outputs:
        if node_of(name) not in nodes:
            raise UsageError(
                f"--outputs names {name!r}, which is no node of {request.source}", hint=_similar(name, nodes)
            )
    for spec in request.inputs:
        if node_of(spec.name) not in nodes:
            placeholders = [name for name, node in nodes.items() if node.op in _FED]
            raise InputSpecError(
                f"--input names {spec.name!r}, which is no node of {request.source}",
                hint=f"its placeholders are: {', '.join(placeholders) or 'none'}; any other node can be fed, too",
            )


def _similar(name: str, nodes: dict[str, Any]) -> str:
    last = node_of(name).rpartition("/")[2].lower()
    near = [known for known in nodes if last and last in known.lower()]
    return f"near to it are: {', '.join((near or list(nodes))[-_LISTED:])}"


def _refuse_variables(path: Path, nodes: Iterable[Any]) -> None:
    variables = [node.name for node in nodes if node.op in _VARIABLES]
    if variables:
        raise ModelError(
            f"{path} is not frozen: the values of {len(variables)} variables ({variables[0]}, ...) are not in it",
            hint="export a SavedModel folder, which holds them, or freeze the graph where its checkpoint is",
        )


def _function(path: Path, graph: Any, feeds: list[str], outputs: tuple[str, ...]) -> Any:
    try:
        return graph_function(graph, list(map(_tensor, feeds)), list(map(_tensor, outputs)))
    except (ValueError, KeyError, TypeError, tf.errors.OpError) as error:
        raise UnsupportedModel(
            f"TensorFlow {tf.__version__} cannot build the graph of {path}: {first_line(error)}",
            hint="it may use operators of another version or of a library: export the model again",
        ) from error


def _tensor(name: str) -> str:
    return name if ":" in name else f"{name}:0"


def _declared(name: str, tensor: Any, given: TensorSpec | None) -> TensorSpec:
    shape = None if tensor.shape.rank is None else tensor.shape.as_list()
    return declared_spec(name, tensor.dtype.name, shape, given)

"""Names in an ONNX graph: giving inputs and outputs those of the source model, and finding unknown operators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

from neo.errors import MissingDependency, ModelError, UnsupportedModel
from neo.onnx_tools.files import load, save
from neo.onnx_tools.walk import graphs, model_nodes
from neo.processing.tokenizers.state import DOMAIN
from neo.runtime.extensions import DISTRIBUTION, extensions_library

# operators of ONNX Runtime's own; whether a given one exists, it says when it opens the model
_RUNTIME_DOMAINS = frozenset(["com.microsoft", "com.microsoft.nchwc", DOMAIN])


def rename_interface(path: Path, inputs: Sequence[tuple[str, str]], outputs: Sequence[tuple[str, str]]) -> None:
    """Renames (old, new) inputs and outputs, and puts them in this order; other tensors that bear a new name make way.

    An output may also be an input, or stand for the same tensor as another output.
    """
    model = load(path, weights=False)
    new_names = dict([*inputs, *outputs])
    wanted = set(new_names.values())
    taken = wanted | set(_tensor_names(model.graph))
    mapping = dict(new_names)
    for name in sorted(set(_tensor_names(model.graph)) & wanted - new_names.keys()):
        mapping[name] = _free_name(name, taken)
        taken.add(mapping[name])
    _rename(model.graph, mapping)
    _reorder(model.graph.input, [new for _old, new in inputs])
    _reorder(model.graph.output, [new for _old, new in outputs])
    save(model, path)


def _free_name(name: str, taken: set[str]) -> str:
    number = 1
    while f"{name}_{number}" in taken:
        number += 1
    return f"{name}_{number}"


def _tensor_names(outer: onnx.GraphProto) -> Iterator[str]:
    for graph in graphs(outer):
        yield from (value.name for value in (*graph.input, *graph.output, *graph.initializer))
        for node in graph.node:
            yield from (*node.input, *node.output)


def _rename(outer: onnx.GraphProto, mapping: Mapping[str, str]) -> None:
    for graph in graphs(outer):
        for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
            value.name = mapping.get(value.name, value.name)
        for node in graph.node:
            node.input[:] = [mapping.get(name, name) for name in node.input]
            node.output[:] = [mapping.get(name, name) for name in node.output]


def _reorder(values: Any, names: Sequence[str]) -> None:
    by_name = {value.name: value for value in values}
    ordered = [by_name[name] for name in names]
    del values[:]
    values.extend(ordered)


def drop_repeated_names(outer: onnx.GraphProto) -> None:
    """Of nodes of one graph with one name the first keeps it: ONNX asks for no name, ONNX Runtime for no name twice."""
    for graph in graphs(outer):
        seen: set[str] = set()
        for node in graph.node:
            if node.name in seen:
                node.name = ""
            seen.add(node.name)


def refuse_unknown_operators(path: Path, hint: str, model: onnx.ModelProto | None = None) -> None:
    """Raises UnsupportedModel naming each operator that neither ONNX, the model itself, nor ONNX Runtime defines;
    MissingDependency for those of its extensions, where these are not installed. model: what is in the file, if it is
    loaded already.
    """
    model = model or load(path, weights=False)
    own = {(function.domain, function.name) for function in model.functions}
    unknown: dict[str, str] = {}
    for node in model_nodes(model):
        domain = "" if node.domain == "ai.onnx" else node.domain
        if domain == DOMAIN and extensions_library() is None:
            raise MissingDependency(
                f"the operator {node.op_type} is of {DISTRIBUTION}, which is not installed",
                hint="pip install 'neo-edge[text]'",
            )
        if (node.domain, node.op_type) in own or domain in _RUNTIME_DOMAINS or _is_standard(path, node.op_type, domain):
            continue
        unknown.setdefault(f"{domain}:{node.op_type}" if domain else node.op_type, node.name or ", ".join(node.output))
    if unknown:
        listed = ", ".join(f"{operator} (node {node!r})" for operator, node in unknown.items())
        raise UnsupportedModel(
            f"no ONNX definition for the operator {listed}", hint=hint, details={"operators": sorted(unknown)}
        )


def _is_standard(path: Path, operator: str, domain: str) -> bool:
    try:
        return onnx.defs.has(operator, domain)
    except TypeError as error:  # protobuf hands out bytes where a name is no UTF-8
        raise ModelError(
            f"{path.name} is damaged: {operator!r} in {domain!r} is no name of an operator",
            hint="copy or export it again",
        ) from error

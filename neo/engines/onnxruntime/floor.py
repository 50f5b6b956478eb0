"""The oldest ONNX Runtime that runs a model.

``releases.json`` is written by ``python -m benchmarks.onnxruntime_releases``, which queries each release. It holds the
operator sets and the IR version that a release loads, and for each version of an operator the first release with a
kernel for it, and which types, attributes and inputs later releases added.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx.shape_inference
from onnx import TensorProto, helper

from neo.onnx_tools.walk import subgraphs

TABLE_PATH = Path(__file__).with_name("releases.json")
ML_DOMAIN = "ai.onnx.ml"
_STANDARD = {"", "ai.onnx"}
# first IR version in which weights need not be inputs too, which would let a caller replace them
_IR_WITH_PLAIN_WEIGHTS = 4
_IR_WITH_FUNCTIONS = 8
# element type -> the IR version that brought it (onnx.proto, "IR version")
_IR_OF_TYPES = {
    **dict.fromkeys(("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ"), 9),
    **dict.fromkeys(("UINT4", "INT4"), 10),
    "FLOAT4E2M1": 11,
    "FLOAT8E8M0": 12,
    **dict.fromkeys(("UINT2", "INT2"), 13),
}

# operators without a kernel: ONNX Runtime turns them into weights when it loads a model
_NO_KERNEL = {"Constant"}
_SMALL_BYTES = 4096  # values of small tensors, which may be shapes or axes, are kept for shape inference

Version = tuple[int, int]
Types = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Floor:
    #: the oldest release that loads the model, as in "1.20"
    version: str
    #: why no older one does, for the report; empty if it is the oldest that is supported at all
    reasons: tuple[str, ...] = ()


def oldest_release(model: onnx.ModelProto, build_version: str, *, beside: frozenset[str] = frozenset()) -> Floor:
    """model: after ``portable``. build_version: of the ONNX Runtime that wrote it; it is the answer if an operator or
    version of the model is not in the table. beside: domains whose operators come from another library.
    """
    built = _parse(build_version)
    found: dict[str, Version] = {}
    opsets = _opsets(model)
    for words, column, value in (
        ("opset", "opset", opsets.get("", 0)),
        (f"{ML_DOMAIN} opset", "ml_opset", opsets.get(ML_DOMAIN, 0)),
        ("IR version", "ir", model.ir_version),
    ):
        found[f"{words} {value}"] = _first_release(column, value) or built
    own = {(function.domain, function.name) for function in model.functions}
    nodes = [
        (node, types)
        for node, types in _all_nodes(_with_types(model))
        if node.op_type not in _NO_KERNEL and node.domain not in beside and (node.domain, node.op_type) not in own
    ]
    # behind operators of ONNX Runtime's own, inference finds no types: assume any of those that occur in the model
    any_of_them = {number for _, types in nodes for number in types.values()}
    for node, types in nodes:
        reason, version = _of_node(node, types, any_of_them, opsets, built)
        found[reason] = max(found.get(reason, version), version)
    highest = max(found.values())
    oldest = _parse(next(iter(_table()["releases"])))
    reasons = [] if highest == oldest else sorted(reason for reason, version in found.items() if version == highest)
    return Floor(f"{highest[0]}.{highest[1]}", tuple(reasons))


def portable(model: onnx.ModelProto) -> None:
    """Removes what ties a model to the release that wrote it. ONNX Runtime writes the newest version of every domain
    that it knows, and keeps the IR version of the original; older releases refuse both.
    """
    used = {_domain(node.domain) for node, _ in _all_nodes(model)}
    kept = [entry for entry in model.opset_import if _domain(entry.domain) in used | {""}]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    needed = helper.find_min_ir_version_for(kept, ignore_unknown=True)
    needed = max(needed, _IR_WITH_PLAIN_WEIGHTS, _IR_WITH_FUNCTIONS if model.functions else 0)
    used_types = {number for _, types in _all_nodes(_with_types(model)) for number in types.values()}
    needed = max([needed, *(_IR_OF_TYPES.get(TensorProto.DataType.Name(each), 0) for each in used_types)])
    model.ir_version = min(model.ir_version, needed)


def _of_node(
    node: onnx.NodeProto, types: Types, any_of_them: Collection[int], opsets: Mapping[str, int], built: Version
) -> tuple[str, Version]:
    """-> (the reason, the oldest release for this node)."""
    domain = _domain(node.domain)
    name = f"{domain}.{node.op_type}" if domain else node.op_type
    versions = _table()["operators"].get(domain, {}).get(node.op_type, {})
    since = max((int(each) for each in versions if int(each) <= opsets.get(domain, 1)), default=None)
    if since is None:
        return f"{name}, which is in no table of releases and needs the one it was built with", built
    facts = versions[str(since)]
    found = [(f"{name} of opset {since}" if domain in {"", ML_DOMAIN} else name, _parse(facts["first"]))]
    later = {_number(added): release for added, release in facts.get("types", {}).items()}
    for value in filter(None, (*node.input, *node.output)):
        possible = (types[value],) if value in types else any_of_them
        found += [(f"{name} of {_type_name(each)}", _parse(later[each])) for each in possible if each in later]
    for attribute in node.attribute:
        if attribute.name in facts.get("attributes", {}):
            found.append((f"{name} with {attribute.name}", _parse(facts["attributes"][attribute.name])))
    for most, release in facts.get("inputs", []):
        if len(node.input) > most:
            found.append((f"{name} with {len(node.input)} inputs", _parse(release)))
    return max(found, key=lambda each: each[1])


def _with_types(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without large weights, with the types of all values that ONNX can infer."""
    bare = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    graph = model.graph
    bare.graph.MergeFrom(onnx.GraphProto(name="typed", node=graph.node, input=graph.input, output=graph.output))
    bare.graph.sparse_initializer.extend(graph.sparse_initializer)
    for tensor in graph.initializer:
        if len(tensor.raw_data) > _SMALL_BYTES or tensor.external_data:
            bare.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        else:
            bare.graph.initializer.append(tensor)
    return onnx.shape_inference.infer_shapes(bare)


def _all_nodes(model: onnx.ModelProto) -> Iterator[tuple[onnx.NodeProto, Types]]:
    yield from _nodes(model.graph, {})
    for function in model.functions:  # functions are written for any type
        yield from _nodes(onnx.GraphProto(node=function.node), {})


def _nodes(graph: onnx.GraphProto, outer: Types) -> Iterator[tuple[onnx.NodeProto, Types]]:
    """Every node, those of subgraphs included, with the element types of the values in scope."""
    types = dict(outer)
    for value in (*graph.input, *graph.value_info, *graph.output):
        held = value.type.optional_type.elem_type if value.type.HasField("optional_type") else value.type
        held = held.sequence_type.elem_type if held.HasField("sequence_type") else held
        if held.tensor_type.elem_type:
            types[value.name] = held.tensor_type.elem_type
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    types |= {sparse.values.name: sparse.values.data_type for sparse in graph.sparse_initializer}
    for node in graph.node:
        yield node, types
        for inner in subgraphs(node):
            yield from _nodes(inner, types)


def _opsets(model: onnx.ModelProto) -> dict[str, int]:
    return {_domain(entry.domain): entry.version for entry in model.opset_import}


def _domain(domain: str) -> str:
    return "" if domain in _STANDARD else domain


def _first_release(column: str, value: int) -> Version | None:
    return next((_parse(name) for name, most in _table()["releases"].items() if most[column] >= value), None)


def _parse(version: str) -> Version:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def _number(words: str) -> int:
    """Element type of "tensor(float16)", as ONNX Runtime writes types; 0, which no tensor has, for anything else."""
    name = words.removeprefix("seq(").removeprefix("tensor(").rstrip(")").upper()
    numbers: dict[str, int] = dict(TensorProto.DataType.items())
    return numbers.get(name, 0)


def _type_name(number: int) -> str:
    return str(TensorProto.DataType.Name(number)).lower()


@functools.cache
def _table() -> Any:
    return json.loads(TABLE_PATH.read_bytes())

"""An MXNet ``-symbol.json`` read into a validated graph, without MXNet."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from neo.errors import ModelError

MAX_SYMBOL_BYTES = 256 << 20
VARIABLE = "null"

# Their second input is the label that training compares with; inference does not read it.
OUTPUT_HEADS = frozenset(
    [
        "SoftmaxOutput",
        "Softmax",
        "SVMOutput",
        "LinearRegressionOutput",
        "LogisticRegressionOutput",
        "MAERegressionOutput",
    ]
)
BATCH_NORMS = frozenset(["BatchNorm", "BatchNorm_v1", "CuDNNBatchNorm"])
# operators with several outputs, seen from outside or not, that have no names of their own: they are numbered
NUMBERED_OUTPUTS = frozenset(
    ["SliceChannel", "_contrib_box_nms", "_split_v2", "amp_multicast", "moments", "sort", "split"]
)
# names of the outputs after the first
FURTHER_OUTPUTS = {
    "BatchNorm": ("mean", "var"),
    "GroupNorm": ("mean", "std"),
    "LayerNorm": ("mean", "std"),
    "RNN": ("state_output", "statecell_output"),
}
# before 0.9.5, argmax and argmin with this axis meant all elements
WHOLE_AXIS = "-1"


@dataclass(frozen=True, slots=True)
class Entry:
    """Output number ``output`` of node number ``node``."""

    node: int
    output: int


@dataclass(frozen=True, slots=True)
class SymbolNode:
    """One node of a symbol."""

    #: "null" for a variable
    operator: str
    name: str
    attributes: Mapping[str, str]
    #: entries of earlier nodes only
    inputs: tuple[Entry, ...]

    @property
    def where(self) -> str:
        return f"node {self.name!r} ({self.operator})"

    def output_name(self, output: int) -> str:
        """As MXNet's list_outputs names it."""
        if self.operator == VARIABLE:
            return self.name
        further = FURTHER_OUTPUTS.get(self.operator, ())
        if 0 < output <= len(further):
            return f"{self.name}_{further[output - 1]}"
        return f"{self.name}_output{output if self._numbers_outputs or output else ''}"

    @property
    def _numbers_outputs(self) -> bool:
        returns = self.attributes.get("ret_typ")
        return self.operator in NUMBERED_OUTPUTS or (self.operator == "topk" and returns in {"both", "value"})


@dataclass(frozen=True, slots=True)
class SymbolGraph:
    """A symbol: a graph of operators."""

    #: in topological order
    nodes: tuple[SymbolNode, ...]
    #: the model's outputs
    heads: tuple[Entry, ...]
    #: of the MXNet that wrote it, as in "1.9.1"
    version: str
    #: do shapes follow numpy, so that a tensor may have no dimensions (mxnet.npx.set_np)?
    numpy: bool = False

    def data_inputs(self, node: SymbolNode) -> tuple[Entry, ...]:
        """What inference reads of the node's inputs."""
        return node.inputs[:1] if node.operator in OUTPUT_HEADS else node.inputs

    def reachable(self) -> frozenset[int]:
        """Numbers of the nodes that the heads need at inference."""
        needed = {head.node for head in self.heads}
        for number in range(len(self.nodes) - 1, -1, -1):
            if number in needed:
                needed.update(entry.node for entry in self.data_inputs(self.nodes[number]))
        return frozenset(needed)


def read_symbol(path: Path) -> SymbolGraph:
    """Raises ModelError if the file is no symbol, or damaged."""
    try:
        size = path.stat().st_size
        if size > MAX_SYMBOL_BYTES:
            raise ModelError(f"{path.name} has {size} bytes; a symbol has at most {MAX_SYMBOL_BYTES}")
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path.name} cannot be read: {error.strerror}") from error
    return parse_symbol(data, what=path.name)


def parse_symbol(data: bytes, *, what: str = "the symbol") -> SymbolGraph:
    """As ``read_symbol``, from the file's bytes."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{what} is not JSON: {error}", hint="give the -symbol.json that net.export() or symbol.save() wrote"
        ) from error
    if not isinstance(document, dict) or not isinstance(document.get("nodes"), list):
        raise ModelError(
            f"{what} is JSON but no MXNet symbol: it has no list of nodes",
            hint="give the -symbol.json that net.export() or symbol.save() wrote",
        )
    number = _version_number(document.get("attrs"))
    nodes = tuple(_upgraded(node, number) for node in _read_nodes(document["nodes"], what))
    heads = _read_entries(document.get("heads"), len(nodes), f"{what}: heads")
    if not heads:
        raise ModelError(f"{what} has no heads: nothing that the model should compute")
    return SymbolGraph(nodes, heads, _version(number), numpy=_integer(document.get("attrs"), "is_np_shape") > 0)


def _read_nodes(items: list[Any], what: str) -> tuple[SymbolNode, ...]:
    nodes = tuple(_read_node(item, number, what) for number, item in enumerate(items))
    variables = [node.name for node in nodes if node.operator == VARIABLE]
    if len(set(variables)) != len(variables):
        twice = next(name for name in variables if variables.count(name) > 1)
        raise ModelError(f"{what} has several variables of the name {twice!r}")
    return nodes


def _read_node(item: Any, number: int, what: str) -> SymbolNode:
    where = f"{what}: node {number}"
    if not isinstance(item, dict):
        raise ModelError(f"{where} should be an object, found {type(item).__name__}")
    operator, name = item.get("op"), item.get("name")
    if not isinstance(operator, str) or not isinstance(name, str) or not name:
        raise ModelError(f"{where} lacks an operator or a name")
    inputs = _read_entries(item.get("inputs", []), number, f"{where} ({name!r}): inputs")
    if operator == VARIABLE and inputs:
        raise ModelError(f"{where} ({name!r}) is a variable and yet has inputs")
    # MXNet before 0.9 kept the operator's attributes in "param", before 1.0 in "attr"
    attributes: dict[str, str] = {}
    for key in ("attr", "param", "attrs"):
        attributes |= _read_attributes(item.get(key, {}), f"{where} ({name!r}): {key}")
    return SymbolNode(operator, name, attributes, inputs)


def _read_attributes(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ModelError(f"{where} should hold texts by name")
    return value


def _read_entries(value: Any, nodes: int, where: str) -> tuple[Entry, ...]:
    if not isinstance(value, list):
        raise ModelError(f"{where} should be a list, found {type(value).__name__}")
    return tuple(_read_entry(item, nodes, where) for item in value)


def _read_entry(item: Any, nodes: int, where: str) -> Entry:
    """[node, output] or [node, output, version]; only the first ``nodes`` nodes may be meant, so no cycles."""
    if not isinstance(item, list) or len(item) not in {2, 3} or not all(type(number) is int for number in item):
        raise ModelError(f"{where} should hold [node, output, version], found {item!r:.80}")
    node, output = item[0], item[1]
    if not 0 <= node < nodes or output < 0:
        raise ModelError(f"{where} refer to output {output} of node {node}; {nodes} nodes come before")
    return Entry(node, output)


def _upgraded(node: SymbolNode, version: int) -> SymbolNode:
    """As the present operators would say what the file's version meant."""
    if version < 905 and node.operator in {"argmax", "argmin"} and node.attributes.get("axis") == WHOLE_AXIS:
        return replace(node, attributes={**node.attributes, "axis": "None"})
    return node


def _integer(attributes: Any, name: str) -> int:
    """An attribute of the document such as ["int", 10901]; 0 if there is none."""
    pair = attributes.get(name) if isinstance(attributes, dict) else None
    return pair[1] if isinstance(pair, list) and len(pair) == 2 and type(pair[1]) is int else 0


def _version_number(attributes: Any) -> int:
    """10901 for 1.9.1; 0 for symbols before 0.9, which carry none."""
    return _integer(attributes, "mxnet_version")


def _version(number: int) -> str:
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}" if number else "unknown"

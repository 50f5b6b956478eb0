"""Cut a graph between what TVM compiles and what ONNX Runtime runs.

The level of a node is the largest number of changes of engine on any path from the inputs to it. Nodes of the same
level and engine form a segment. No edge leads to a lower level or between the two segments of one level, so segments
can run one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from neo.engines.tvm.importing.onnx_facts import Facts, multiply_adds, read_by
from neo.engines.tvm.importing.refusal import Refused

TVM, ONNXRUNTIME = "tvm", "onnxruntime"
# each cut costs a switch between two thread pools, and no operators are fused across it
MOST_SEGMENTS = 7
# least shares of the model's multiply-adds: for one segment to be worth its cuts, and for all of TVM's together
LEAST_SEGMENT_SHARE = 0.02
LEAST_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Segment:
    """Nodes that one engine runs together."""

    #: TVM or ONNXRUNTIME
    engine: str
    #: indices of the graph's nodes, ascending
    nodes: tuple[int, ...]
    #: names of the tensors that it reads from outside
    inputs: tuple[str, ...]
    #: names of its tensors that are read outside
    outputs: tuple[str, ...]


def partition(graph: onnx.GraphProto, facts: Facts, refused: Mapping[int, str]) -> tuple[Segment, ...]:
    """Segments in execution order. refused: index of a node that TVM does not take -> why.

    Raises Refused if what remains for TVM is too little to be worth the cuts.
    """
    work = {index: multiply_adds(node, facts) for index, node in enumerate(graph.node)}
    total = sum(work.values())
    compiled = frozenset(work) - refused.keys()
    if not total:
        raise Refused("the rest has no convolutions or matrix products worth cutting the graph for")
    while True:
        groups = _levels(graph, compiled)
        small = {
            node
            for (_, engine), nodes in groups.items()
            if engine == TVM and sum(work[node] for node in nodes) < LEAST_SEGMENT_SHARE * total
            for node in nodes
        }
        if not small:
            break
        compiled -= small
    share = sum(work[node] for node in compiled) / total
    if share < LEAST_SHARE:
        raise Refused(f"the rest has {share:.0%} of the multiply-adds; the graph is cut for {LEAST_SHARE:.0%} and more")
    if len(groups) > MOST_SEGMENTS:
        raise Refused(f"the graph would be cut into {len(groups)} segments; at most {MOST_SEGMENTS} pay")
    return _with_borders(graph, facts, groups)


Groups = dict[tuple[int, str], list[int]]


def _levels(graph: onnx.GraphProto, compiled: frozenset[int]) -> Groups:
    """(level, engine) -> nodes, in execution order."""
    made: dict[str, tuple[int, str]] = {}
    groups: Groups = {}
    for index, node in enumerate(graph.node):
        engine = TVM if index in compiled else ONNXRUNTIME
        before = (made[name] for name in read_by(node) if name in made)
        level = max((level + (other != engine) for level, other in before), default=0)
        made.update(dict.fromkeys(node.output, (level, engine)))
        groups.setdefault((level, engine), []).append(index)
    return dict(sorted(groups.items()))


def _with_borders(graph: onnx.GraphProto, facts: Facts, groups: Groups) -> tuple[Segment, ...]:
    results = {value.name for value in graph.output}
    readers: dict[str, set[int]] = {}
    for index, node in enumerate(graph.node):
        for name in read_by(node):
            readers.setdefault(name, set()).add(index)
    segments = []
    for (_, engine), nodes in groups.items():
        inside = set(nodes)
        made = [name for index in nodes for name in graph.node[index].output if name]
        read = dict.fromkeys(name for index in nodes for name in read_by(graph.node[index]))
        known = {*made, *facts.constants}
        inputs = tuple(name for name in read if name not in known)
        outputs = tuple(name for name in made if name in results or readers.get(name, set()) - inside)
        segments.append(Segment(engine, tuple(nodes), inputs, outputs))
    return tuple(segments)


def extract(model: onnx.ModelProto, facts: Facts, segment: Segment) -> onnx.ModelProto:
    """The segment as a model of its own."""
    nodes = [model.graph.node[index] for index in segment.nodes]
    constants = dict.fromkeys(name for node in nodes for name in read_by(node) if name in facts.constants)
    values = {value.name: value for value in (*model.graph.value_info, *model.graph.input, *model.graph.output)}
    borders = {*segment.inputs, *segment.outputs}
    inside = [values[name] for node in nodes for name in node.output if name in values and name not in borders]
    graph = onnx.helper.make_graph(
        nodes,
        "segment",
        [values[name] for name in segment.inputs],
        [values[name] for name in segment.outputs],
        [facts.constants[name] for name in constants],
        value_info=inside,
    )
    return onnx.helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version, functions=model.functions
    )

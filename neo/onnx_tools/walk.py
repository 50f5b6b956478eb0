"""The graphs, nodes and tensors of a model, those in subgraphs (branches, loops) included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs that are attributes of this node, without those inside them."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph itself, then all subgraphs at every depth, which can read its tensors."""
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from graphs(inner)


def nodes(outer: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes, each followed by those in its subgraphs."""
    for node in outer:
        yield node
        for inner in subgraphs(node):
            yield from nodes(inner.node)


def model_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """All nodes of the graph and of the functions that the model defines, those in subgraphs included."""
    yield from nodes(model.graph.node)
    for function in model.functions:
        yield from nodes(function.node)


def tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """All tensors with values: initializers, sparse ones too, and attributes of nodes, those of functions included."""
    for graph in graphs(model.graph):
        yield from _initializers(graph)
    for node in model_nodes(model):
        yield from _attributes(node)
    for function in model.functions:  # a function has no initializers, but the graphs in its nodes may
        for node in function.node:
            for inner in subgraphs(node):
                for graph in graphs(inner):
                    yield from _initializers(graph)


def _initializers(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)


def _attributes(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        sparse = [*attribute.sparse_tensors]
        if attribute.HasField("sparse_tensor"):
            sparse.append(attribute.sparse_tensor)
        for one in sparse:
            yield from (one.values, one.indices)

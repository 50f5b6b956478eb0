"""Moves the weights of an optimised graph into small files.

A retrained model then shares the graph and most weights with the old one, and a device memory-maps the files. Weights
are in the order in which nodes use them, in the graph and in the files: ONNX Runtime writes them in the order of a hash
table, which is different for each version of a model.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import external_data_helper

from neo.engines.weight_files import WeightFiles, place_weights
from neo.onnx_tools.files import load, save
from neo.onnx_tools.walk import nodes

#: smaller weights stay in the graph: among them are shapes and axes, which ONNX Runtime needs when it loads the graph
LEAST_BYTES = 128
WEIGHTS_FILE = "weights.bin"


def split_weights(optimised: Path, folder: Path) -> None:
    """optimised: a graph with its large weights in WEIGHTS_FILE beside it. folder: where the graph, under the same
    name, and the files of weights are written.
    """
    model = load(optimised, weights=False)
    graph = model.graph
    order = {name: index for index, name in enumerate(dict.fromkeys(_uses(graph)))}
    # weights that no node uses come last, by name
    tensors = sorted(graph.initializer, key=lambda tensor: (order.get(tensor.name, len(order)), tensor.name))
    outside = [tensor for tensor in tensors if external_data_helper.uses_external_data(tensor)]
    if outside:
        _move(outside, optimised.with_name(WEIGHTS_FILE), folder)
    del graph.initializer[:]
    graph.initializer.extend(tensors)
    save(model, folder / optimised.name)


def _move(tensors: list[onnx.TensorProto], weights: Path, folder: Path) -> None:
    found = [{entry.key: entry.value for entry in tensor.external_data} for tensor in tensors]
    sizes = [int(entry["length"]) for entry in found]
    positions = place_weights(sizes)
    files = WeightFiles(folder)
    with weights.open("rb") as file:
        for tensor, old, size, position in zip(tensors, found, sizes, positions, strict=True):
            file.seek(int(old.get("offset", 0)))
            files.write(position, file.read(size))
            del tensor.external_data[:]
            values = {"location": position.file, "offset": str(position.offset), "length": str(size)}
            for key, value in values.items():
                entry = tensor.external_data.add()
                entry.key, entry.value = key, value


def _uses(graph: onnx.GraphProto) -> Iterator[str]:
    """The names that nodes read, in order, those in subgraphs included."""
    for node in nodes(graph.node):
        yield from node.input

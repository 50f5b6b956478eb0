"""The edges of an ONNX graph as exporters write them: sizes that are none, outputs without a shape."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx

from neo.contract.tensors import is_dim_name
from neo.onnx_tools.files import load, save
from neo.onnx_tools.walk import graphs


def tidy_interface(path: Path, model: onnx.ModelProto) -> bool:
    """Makes model and its file, a copy of our own, say no more about sizes than is known; -> whether it is complete.

    A size below 0, or with a name that is no name ("?", "floor(h/2)"), is forgotten at every depth: with one such name
    twice, two sizes would be taken for one. An output without type or shape gets what inference finds; the file is not
    complete if that is nothing, as it may be until the inputs have fixed sizes.
    """
    if _forget(model, lambda dim: dim.dim_value < 0 or bool(dim.dim_param and not is_dim_name(dim.dim_param))):
        save(model, path)
    lacking = [value for value in model.graph.output if not _has_shape(value)]
    if lacking and _infer(path, lacking):
        save(model, path)
    return all(map(_has_shape, model.graph.output))


def forget_empty(path: Path) -> None:
    """Sizes of 0, where the user says that an input has some other: then no size that follows from it holds."""
    model = load(path, weights=False)
    if _forget(model, lambda dim: dim.HasField("dim_value") and dim.dim_value == 0):
        save(model, path)


def _forget(model: onnx.ModelProto, which: Callable[[Any], bool]) -> bool:
    """-> whether there was any such size."""
    found = [
        dim
        for graph in graphs(model.graph)
        for value in (*graph.input, *graph.output, *graph.value_info)
        for dim in value.type.tensor_type.shape.dim
        if which(dim)
    ]
    for dim in found:
        dim.ClearField("value")
    return bool(found)


def _has_shape(value: onnx.ValueInfoProto) -> bool:
    kind = value.type.WhichOneof("value")
    return kind is not None and (kind != "tensor_type" or value.type.tensor_type.HasField("shape"))


def _infer(path: Path, lacking: list[onnx.ValueInfoProto]) -> bool:
    """Fills in what inference finds; -> whether it found anything."""
    with TemporaryDirectory(dir=path.parent) as folder:  # a file beside: a message could be too large
        inferred = Path(folder) / path.name
        onnx.shape_inference.infer_shapes_path(str(path), str(inferred))
        graph = load(inferred, weights=False).graph
    found = {value.name: value for value in (*graph.value_info, *graph.output) if _has_shape(value)}
    for value in lacking:
        if value.name in found:
            value.type.CopyFrom(found[value.name].type)
    return any(value.name in found for value in lacking)

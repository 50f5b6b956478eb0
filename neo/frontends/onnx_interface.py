"""Repairs the interface of an ONNX graph: exporters write invalid sizes, and outputs without a shape."""

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
    """Removes invalid sizes from model and its file, which is our own copy; -> is the interface complete?

    Sizes below 0 and names that are no identifiers ("?", "floor(h/2)") are removed, in subgraphs too: if such a name
    occurs twice, different sizes would count as equal. Outputs without type or shape get those that inference finds.
    The interface is incomplete if it finds none, as may be until the inputs have fixed sizes.
    """
    if _forget(model, lambda dim: dim.dim_value < 0 or bool(dim.dim_param and not is_dim_name(dim.dim_param))):
        save(model, path)
    lacking = [value for value in model.graph.output if not _has_shape(value)]
    if lacking and _infer(path, lacking):
        save(model, path)
    return all(map(_has_shape, model.graph.output))


def forget_empty(path: Path) -> None:
    """Removes sizes of 0. For models whose inputs have size 0 in the file but not for the user: sizes that were derived
    from it are wrong.
    """
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

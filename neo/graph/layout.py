"""Changes the layout of images in a model's interface: a Transpose after an input or before an output; names are kept.

The rest of the graph stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from neo.contract.tensors import TensorSpec
from neo.errors import InputSpecError, UsageError
from neo.graph.options import RewriteOptions
from neo.onnx_tools.passes import Model, PassResult
from neo.onnx_tools.walk import nodes

NCHW, NHWC = "NCHW", "NHWC"
LAYOUTS = (NCHW, NHWC)
EVERY_INPUT = ""
"""The key of a layout that is meant for all inputs that are images."""

# numbers of channels of an image: grey, colour, colour with transparency
_CHANNELS = frozenset([1, 3, 4])
_CHANNELS_LAST_FRAMEWORKS = frozenset(["keras", "tensorflow"])
# requested layout of the interface -> for each of its axes, the axis of the model's layout, which is the other one
_PERMUTATIONS = {NCHW: (0, 3, 1, 2), NHWC: (0, 2, 3, 1)}

Permutations = Mapping[str, tuple[int, ...]]
"""By tensor: where each axis of the new interface stands in the model's own."""


def permutations(
    layouts: Mapping[str, str], inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], framework: str
) -> dict[str, tuple[int, ...]]:
    """Tensor -> permutation, so that the interface gets the requested ``layouts`` (tensor -> NCHW or NHWC).

    The present layout of an input follows from its channels, if only one dimension can be channels (1, 3 or 4).
    Otherwise inputs of TensorFlow and Keras count as NHWC, others as NCHW. Outputs have the layout of the first input
    with four dimensions. Raises UsageError for an unknown name, InputSpecError for a tensor that does not have four
    dimensions.
    """
    images = [spec for spec in inputs if len(spec.shape) == 4]
    wanted = {spec.name: layouts[EVERY_INPUT] for spec in images} if EVERY_INPUT in layouts else {}
    if EVERY_INPUT in layouts and not images:
        raise InputSpecError(
            f"--layout {layouts[EVERY_INPUT]}: no input of the model has four dimensions",
            hint=f"its inputs are: {'  '.join(map(str, inputs)) or 'none'}",
        )
    wanted |= {name: layout for name, layout in layouts.items() if name != EVERY_INPUT}
    specs = {spec.name: spec for spec in (*inputs, *outputs)}
    first = _layout(images[0], framework) if images else _usual(framework)
    names = {spec.name for spec in inputs}
    changed: dict[str, tuple[int, ...]] = {}
    for name, layout in wanted.items():
        _check(name, specs)
        now = _layout(specs[name], framework) if name in names else first
        if now != layout:
            changed[name] = _PERMUTATIONS[layout]
    return changed


def _check(name: str, specs: Mapping[str, TensorSpec]) -> None:
    if name not in specs:
        raise UsageError(
            f"--layout names {name!r}, which is no input or output of the model",
            hint=f"it has: {'  '.join(map(str, specs.values()))}",
        )
    if len(specs[name].shape) != 4:
        raise InputSpecError(
            f"--layout {name}: {specs[name]} has {len(specs[name].shape)} dimensions; NCHW and NHWC have four",
            hint="name an input or output with four dimensions",
        )


def _layout(spec: TensorSpec, framework: str) -> str:
    first, last = spec.shape[1] in _CHANNELS, spec.shape[3] in _CHANNELS
    if first != last:
        return NCHW if first else NHWC
    return _usual(framework)


def _usual(framework: str) -> str:
    return NHWC if framework in _CHANNELS_LAST_FRAMEWORKS else NCHW


def transposed_spec(spec: TensorSpec, changed: Permutations) -> TensorSpec:
    if spec.name not in changed:
        return spec
    return TensorSpec(spec.name, spec.dtype, tuple(spec.shape[axis] for axis in changed[spec.name]))


def transposed_arrays(arrays: Mapping[str, NDArray[Any]], changed: Permutations) -> dict[str, NDArray[Any]]:
    return {
        name: np.ascontiguousarray(array.transpose(changed[name])) if name in changed else array
        for name, array in arrays.items()
    }


def change_layouts(model: Model, _folder: Path, options: RewriteOptions) -> PassResult:
    """The model with the interface that ``options.permutations`` asks for."""
    changed, graph = options.permutations, model.proto.graph
    if not changed:
        return PassResult(model, modified=False)
    for value in graph.input:
        if value.name in changed:
            inner = _free_name(graph, value.name)
            _rename_reads(graph, value.name, inner)
            graph.node.insert(0, _transpose(value.name, inner, _inverse(changed[value.name])))
            _permute(value, changed[value.name])
    # an output that is an input passed through has changed with it
    inputs = {value.name for value in graph.input}
    for value in graph.output:
        if value.name in changed and value.name not in inputs:
            inner = _free_name(graph, value.name)
            _rename_reads(graph, value.name, inner)
            _rename_written(graph, value.name, inner)
            graph.node.append(_transpose(inner, value.name, changed[value.name]))
            _permute(value, changed[value.name])
    return PassResult(model.changed(), modified=True)


def _free_name(graph: onnx.GraphProto, name: str) -> str:
    taken = {output for node in nodes(graph.node) for output in node.output}
    inner = f"{name}/layout"
    while inner in taken:
        inner += "_"
    return inner


def _rename_reads(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in nodes(graph.node):
        node.input[:] = [new if name == old else name for name in node.input]


def _rename_written(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        node.output[:] = [new if name == old else name for name in node.output]
    for tensor in graph.initializer:
        tensor.name = new if tensor.name == old else tensor.name


def _inverse(permutation: Sequence[int]) -> list[int]:
    return [permutation.index(axis) for axis in range(len(permutation))]


def _transpose(read: str, written: str, permutation: Sequence[int]) -> onnx.NodeProto:
    return onnx.helper.make_node("Transpose", [read], [written], perm=list(permutation))


def _permute(value: onnx.ValueInfoProto, permutation: Sequence[int]) -> None:
    shape = value.type.tensor_type.shape
    dims = [onnx.TensorShapeProto.Dimension.FromString(dim.SerializeToString()) for dim in shape.dim]
    del shape.dim[:]
    shape.dim.extend(dims[axis] for axis in permutation)

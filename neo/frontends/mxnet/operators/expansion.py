"""Operators that repeat elements along axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neo.contract.tensors import Dim
from neo.errors import InputSpecError
from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Converter, Operation
from neo.frontends.mxnet.operators.creation import require_reasonable


def tile(op: Operation) -> Value:
    counts, data = op.attributes.integers("reps"), op.data
    if any(count < 1 for count in counts):
        raise op.unsupported(f"reps={counts}")
    if len(counts) > data.rank:
        data = op.emit("Unsqueeze", data, op.constant(range(len(counts) - data.rank)))
    return op.emit("Tile", data, op.constant((1,) * (data.rank - len(counts)) + counts))


def repeat(op: Operation) -> Value:
    """Every element as often as is said, one after the other; without an axis, of all elements in a row."""
    times, data = op.attributes.integer("repeats"), op.data
    if op.attributes.has("axis"):
        axis = op.axis(op.attributes.integer("axis"), data.rank)
    else:
        data, axis = op.reshape(data, (-1,)), 0
    size, _ = require_reasonable(op, (op.size(data, axis), max(times, 0)))
    if times < 1:
        raise op.unsupported(f"repeats={times}")
    return op.emit("Gather", data, op.constant(np.repeat(np.arange(size), times)), axis=axis)


def _expanded(op: Operation, value: Value, shape: Sequence[Dim]) -> Value:
    """A dynamic dimension has to be there already."""
    for axis, dim in enumerate(shape):
        if isinstance(dim, str) and value.shape[axis] != dim:
            raise InputSpecError(f"{op.where} repeats over the dynamic {dim!r}", hint=f"fix its size: --dim {dim}=1")
    wanted = [dim if isinstance(dim, int) else 1 for dim in shape]
    return value if tuple(shape) == value.shape else op.emit("Expand", value, op.constant(wanted))


def broadcast_to(op: Operation) -> Value:
    """0 keeps a dimension."""
    wanted = op.attributes.integers("shape", ())
    if op.numpy and len(wanted) > op.data.rank:
        return op.emit("Expand", op.data, op.constant(wanted))
    if len(wanted) != op.data.rank or any(dim < 0 for dim in wanted):
        raise InputSpecError(f"{op.where} makes the shape {wanted} of {op.data}")
    return _expanded(op, op.data, [dim or old for dim, old in zip(wanted, op.data.shape, strict=True)])


def broadcast_axis(op: Operation) -> Value:
    axes, sizes = op.attributes.integers("axis", ()), op.attributes.integers("size", ())
    if len(axes) != len(sizes) or any(size < 1 for size in sizes):
        raise op.unsupported(f"axis={axes}, size={sizes}")
    shape = list(op.data.shape)
    for axis, size in zip(axes, sizes, strict=True):
        shape[op.axis(axis, op.data.rank)] = size
    return _expanded(op, op.data, shape)


def broadcast_like(op: Operation) -> Value:
    like = op.input(1, "rhs")
    own = op.attributes.integers("lhs_axes", ())
    others = op.attributes.integers("rhs_axes", ())
    if len(own) != len(others):
        raise op.unsupported(f"lhs_axes={own}, rhs_axes={others}")
    if not own:
        return op.expanded_like(op.data, like)
    shape = list(op.data.shape)
    for axis, other in zip(own, others, strict=True):
        shape[op.axis(axis, op.data.rank)] = like.shape[op.axis(other, like.rank)]
    return _expanded(op, op.data, shape)


CONVERTERS: dict[str, Converter] = {
    "broadcast_axis": broadcast_axis,
    "broadcast_like": broadcast_like,
    "broadcast_to": broadcast_to,
    "repeat": repeat,
    "tile": tile,
}

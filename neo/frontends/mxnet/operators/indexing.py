"""Operators that choose elements by tensors of indices, which MXNet lets be of any type, floats too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Converter, Operation
from neo.frontends.mxnet.operators.creation import require_reasonable


def _within(op: Operation, indices: Value, size: int, mode: str) -> Value:
    """Indices as int64: what lies outside 0 to size - 1 is clipped to the edge, or wraps around."""
    indices = op.cast(indices, "int64")
    if mode == "clip":
        return op.emit("Clip", indices, op.constant(0), op.constant(size - 1))
    if mode == "wrap":
        return op.emit("Mod", indices, op.constant(size), fmod=0)
    return indices


def take(op: Operation) -> Value:
    axis = op.axis(op.attributes.integer("axis", 0), op.data.rank)
    mode = op.attributes.choice("mode", ("clip", "wrap", "raise"), "clip")
    indices = _within(op, op.input(1, "indices"), op.size(op.data, axis), mode)
    return op.emit("Gather", op.data, indices, axis=axis)


def embedding(op: Operation) -> Value:
    """An index beyond the table is clipped to its edge, as MXNet's kernels do."""
    weight = op.input(1, "weight")
    return op.emit("Gather", weight, _within(op, op.data, op.size(weight, 0), "clip"), axis=0)


def pick(op: Operation) -> Value:
    """One element along an axis for every place in the other axes."""
    data, indices = op.data, op.input(1, "index")
    keep = op.attributes.boolean("keepdims", default=False)
    if "axis" in op.attributes.texts and not op.attributes.has("axis"):
        data, axis = op.reshape(data, (-1,)), 0
        indices = op.reshape(indices, (1,))
    else:
        axis = op.axis(op.attributes.integer("axis", -1), data.rank)
    mode = op.attributes.choice("mode", ("clip", "wrap"), "clip")
    indices = _within(op, indices, op.size(data, axis), mode)
    if indices.rank < data.rank:
        indices = op.emit("Unsqueeze", indices, op.constant([axis]))
    picked = op.emit("GatherElements", data, indices, axis=axis)
    return picked if keep or picked.rank == 1 else op.emit("Squeeze", picked, op.constant([axis]))


def batch_take(op: Operation) -> Value:
    """One element of every row of a matrix."""
    op.require_rank(op.data, 2)
    rows = op.reshape(_within(op, op.input(1, "indices"), op.size(op.data, 1), "clip"), (-1, 1))
    return op.emit("Squeeze", op.emit("GatherElements", op.data, rows, axis=1), op.constant([1]))


def _index_rows(op: Operation, indices: Value) -> Value:
    """MXNet has the index of an element along the first axis, ONNX along the last."""
    return op.moved(op.cast(indices, "int64"), 0, indices.rank - 1)


def gather_nd(op: Operation) -> Value:
    return op.emit("GatherND", op.data, _index_rows(op, op.input(1, "indices")))


def scatter_nd(op: Operation) -> Value:
    """Data into zeros of a shape."""
    shape = require_reasonable(op, op.attributes.integers("shape"))
    zeros = op.constant(np.zeros(shape), op.data.dtype)
    return op.emit("ScatterND", zeros, _index_rows(op, op.input(1, "indices")), op.data)


def one_hot(op: Operation) -> Value:
    """An index outside the depth, also a negative one, gives nothing but off_value."""
    (depth,) = require_reasonable(op, (op.attributes.integer("depth"),))
    dtypes = ("float16", "float32", "float64", "int32", "int64", "int8", "uint8")
    dtype = op.attributes.choice("dtype", dtypes, "float32")
    on, off = (op.attributes.number(name, default) for name, default in (("on_value", 1.0), ("off_value", 0.0)))
    indices = op.emit("Unsqueeze", op.cast(op.data, "int64"), op.constant([op.data.rank]))
    hit = op.emit("Equal", indices, op.counting(depth))
    return op.emit("Where", hit, op.constant(on, dtype), op.constant(off, dtype))


def boolean_mask(op: Operation) -> Value:
    axis = op.axis(op.attributes.integer("axis", 0), op.data.rank)
    return op.emit("Compress", op.data, op.cast(op.input(1, "index"), "bool"), axis=axis)


def flip(op: Operation) -> Value:
    axes = [op.axis(axis, op.data.rank) for axis in op.attributes.integers("axis")]
    return reversed_axes(op, op.data, axes)


def reversed_axes(op: Operation, value: Value, axes: Sequence[int]) -> Value:
    count = len(axes)
    first, last, step = op.constant([-1] * count), op.constant([-(1 << 62)] * count), op.constant([-1] * count)
    return op.emit("Slice", value, first, last, op.constant(axes), step)


CONVERTERS: dict[str, Converter] = {
    "Embedding": embedding,
    "_contrib_boolean_mask": boolean_mask,
    "batch_take": batch_take,
    "gather_nd": gather_nd,
    "one_hot": one_hot,
    "pick": pick,
    "reverse": flip,
    "scatter_nd": scatter_nd,
    "take": take,
}

"""Sorting, the largest elements and where they are."""

from __future__ import annotations

import numpy as np

from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Converter, Operation

INDEX_TYPES = ("float16", "float32", "float64", "int32", "int64", "uint8")


def _data_and_axis(op: Operation, default: int) -> tuple[Value, int]:
    """axis=None takes all elements as one row."""
    if "axis" in op.attributes.texts and not op.attributes.has("axis"):
        return op.reshape(op.data, (-1,)), 0
    return op.data, op.axis(op.attributes.integer("axis", default), op.data.rank)


def _largest(op: Operation, data: Value, axis: int, count: int, *, ascending: bool) -> tuple[Value, Value]:
    values, indices = op.emit_several(
        "TopK", 2, data, op.constant([count]), axis=axis, largest=int(not ascending), sorted=1
    )
    return values, indices


def topk(op: Operation) -> Value | tuple[Value, ...]:
    data, axis = _data_and_axis(op, -1)
    size, count = op.size(data, axis), op.attributes.integer("k", 1)
    if count > size:
        raise op.unsupported(f"k={count} of {size} elements")
    ascending = op.attributes.boolean("is_ascend", default=False)
    values, indices = _largest(op, data, axis, count if count > 0 else size, ascending=ascending)
    wanted = op.attributes.choice("ret_typ", ("value", "indices", "mask", "both"), "indices")
    if wanted == "mask":
        return _mask(op, data, indices, axis)
    indices = op.cast(indices, op.attributes.choice("dtype", INDEX_TYPES, "float32"))
    if wanted == "both":
        return values, indices
    return values if wanted == "value" else indices


def _mask(op: Operation, data: Value, indices: Value, axis: int) -> Value:
    """1 where an element is among the chosen, 0 elsewhere, in the data's own shape."""
    zeros = op.expanded_like(op.constant(0, data.dtype), data)
    ones = op.expanded_like(op.constant(1, data.dtype), indices)
    mask = op.emit("ScatterElements", zeros, indices, ones, axis=axis)
    if mask.rank == op.data.rank:
        return mask
    return op.reshape(mask, op.sizes(op.data))


def sort(op: Operation) -> Value:
    data, axis = _data_and_axis(op, -1)
    ascending = op.attributes.boolean("is_ascend", default=True)
    return _largest(op, data, axis, op.size(data, axis), ascending=ascending)[0]


def argsort(op: Operation) -> Value:
    data, axis = _data_and_axis(op, -1)
    ascending = op.attributes.boolean("is_ascend", default=True)
    indices = _largest(op, data, axis, op.size(data, axis), ascending=ascending)[1]
    return op.cast(indices, op.attributes.choice("dtype", INDEX_TYPES, "float32"))


def extreme(operator: str, dtype: str = "float32") -> Converter:
    """Where the largest or smallest element along an axis is, the first of equals; MXNet answers in floats."""

    def convert(op: Operation) -> Value:
        keep = op.attributes.boolean("keepdims", default=False)
        if op.attributes.has("axis"):
            axis = op.axis(op.attributes.integer("axis"), op.data.rank)
            whole = op.data.rank == 1 and not keep
            found = op.emit(operator, op.data, axis=axis, keepdims=int(keep or whole))
        else:
            found = op.emit(operator, op.reshape(op.data, (-1,)), axis=0, keepdims=1)
            whole = not keep
            if keep:
                found = op.reshape(found, (1,) * op.data.rank)
        if whole and op.numpy:
            found = op.reshape(found, ())
        return op.cast(found, dtype)

    return convert


def argmax_channel(op: Operation) -> Value:
    found = op.emit("ArgMax", op.data, axis=op.axis(1, op.data.rank), keepdims=0)
    return op.cast(found, op.data.dtype)


def cumulative_sum(op: Operation) -> Value:
    data = op.data
    if op.attributes.has("axis"):
        axis = op.axis(op.attributes.integer("axis"), data.rank)
    else:
        data, axis = op.reshape(data, (-1,)), 0
    dtypes = ("float16", "float32", "float64", "int32", "int64", "int8")
    default = "int64" if np.dtype(data.dtype).kind == "b" else data.dtype
    return op.emit("CumSum", op.cast(data, op.attributes.choice("dtype", dtypes, default)), op.constant(axis))


CONVERTERS: dict[str, Converter] = {
    "_np_cumsum": cumulative_sum,
    "argmax": extreme("ArgMax"),
    "argmax_channel": argmax_channel,
    "argmin": extreme("ArgMin"),
    "argsort": argsort,
    "sort": sort,
    "topk": topk,
}

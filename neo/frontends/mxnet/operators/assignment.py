"""Tensors with a part replaced, and positions as one number or as several."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from neo.errors import InputSpecError
from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Converter, Operation
from neo.frontends.mxnet.operators.creation import require_reasonable


def slice_assigned(op: Operation) -> Value:
    """The right side in place of a part of the left."""
    places = _sliced(op)
    value = op.input(1, "rhs")
    if value.shape != places.shape:
        raise InputSpecError(f"{op.where} puts {value} in a place of shape {list(places.shape)}")
    return _replaced(op, places, value)


def slice_assigned_number(op: Operation) -> Value:
    places = _sliced(op)
    return _replaced(op, places, op.constant(np.full(places.shape, op.attributes.number("scalar", 0.0)), op.data.dtype))


def _sliced(op: Operation) -> NDArray[np.int64]:
    """The numbers of the elements that begin, end and step choose."""
    begin, end = op.attributes.optional_integers("begin"), op.attributes.optional_integers("end")
    step = op.attributes.optional_integers("step") if op.attributes.has("step") else ()
    step = step or (None,) * len(begin)
    if not len(begin) == len(end) == len(step) <= op.data.rank or 0 in step:
        raise op.unsupported(f"begin={begin}, end={end}, step={step} of {op.data}")
    shape = require_reasonable(op, op.sizes(op.data))
    part = tuple(slice(*limits) for limits in zip(begin, end, step, strict=True))
    found = np.arange(math.prod(shape), dtype=np.int64).reshape(shape)[part]
    if not found.size:
        raise InputSpecError(f"{op.where} replaces nothing of {op.data}")
    return found


def _replaced(op: Operation, places: NDArray[np.int64], value: Value) -> Value:
    flat = op.emit(
        "ScatterElements", op.reshape(op.data, (-1,)), op.constant(places.reshape(-1)), op.reshape(value, (-1,))
    )
    return op.reshape(flat, op.sizes(op.data))


def index_copied(op: Operation) -> Value:
    """Rows of the new tensor at the places in the old one that the indices name."""
    indices = op.cast(op.input(1, "index"), "int64")
    op.require_rank(indices, 1)
    return op.emit("ScatterND", op.data, op.reshape(indices, (-1, 1)), op.input(2, "new"))


def positions_as_one(op: Operation) -> Value:
    """(axes, N) to numbers counted row by row."""
    shape = _counted_shape(op)
    op.require_rank(op.data, 2)
    op.require_size(op.data, 0, len(shape), "axes")
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    weighted = op.emit("Mul", op.cast(op.data, "int64"), op.constant(np.reshape(strides, (-1, 1)), "int64"))
    return op.cast(op.emit("ReduceSum", weighted, op.constant([0]), keepdims=0), op.data.dtype)


def positions_as_several(op: Operation) -> Value:
    """Numbers counted row by row, (N,), to (axes, N)."""
    shape = _counted_shape(op)
    op.require_rank(op.data, 1)
    number, found = op.cast(op.data, "int64"), []
    for axis, size in enumerate(shape):
        row = op.emit("Div", number, op.constant(math.prod(shape[axis + 1 :])))
        row = op.emit("Mod", row, op.constant(size)) if axis else row
        found.append(op.emit("Unsqueeze", row, op.constant([0])))
    return op.cast(op.emit("Concat", *found, axis=0), op.data.dtype)


def _counted_shape(op: Operation) -> tuple[int, ...]:
    """A first axis without a size, -1, may be of any: its size does not matter."""
    shape = op.attributes.integers("shape")
    if not shape or min(shape[1:], default=1) < 1 or math.prod(shape[1:]) >= 1 << 62:
        raise op.unsupported(f"shape={shape}")
    return shape


CONVERTERS: dict[str, Converter] = {
    "_contrib_index_copy": index_copied,
    "_ravel_multi_index": positions_as_one,
    "_slice_assign": slice_assigned,
    "_slice_assign_scalar": slice_assigned_number,
    "_unravel_index": positions_as_several,
}

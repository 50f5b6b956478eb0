"""Tensors that depend on nothing, or on a shape only: they become constants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Converter, Operation

# larger than any table of positions or anchors; what asks for more is no model
MAX_ELEMENTS = 1 << 24


def require_reasonable(op: Operation, shape: Sequence[int]) -> tuple[int, ...]:
    """The shape, if a constant of it fits. Raises UnsupportedModel."""
    if any(dim < 0 for dim in shape) or math.prod(shape) > MAX_ELEMENTS:
        raise op.unsupported(f"a constant of shape {list(shape)}")
    return tuple(shape)


def _dtype(op: Operation, default: str = "float32") -> str:
    names = ("bool", "float16", "float32", "float64", "int32", "int64", "int8", "uint8")
    return op.attributes.choice("dtype", names, default)


def filled(value: float) -> Converter:
    return lambda op: _filled(op, value)


def full(op: Operation) -> Value:
    return _filled(op, op.attributes.number("value"))


def _filled(op: Operation, value: float) -> Value:
    shape = op.attributes.integers("shape", ())
    if not op.numpy:
        # 0 is a size that MXNet infers from the readers: they broadcast a 1 to it
        shape = tuple(dim or 1 for dim in shape)
    return _constant(op, shape, value, _dtype(op))


def _constant(op: Operation, shape: Sequence[int], value: float, dtype: str) -> Value:
    if np.dtype(dtype).kind in "iu":
        if not value.is_integer() or not np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
            raise op.unsupported(f"{value} as {dtype}")
        return op.constant(np.full(require_reasonable(op, shape), int(value)), dtype)
    return op.constant(np.full(require_reasonable(op, shape), value), dtype)


def filled_like(value: float) -> Converter:
    def convert(op: Operation) -> Value:
        if any(isinstance(dim, str) for dim in op.data.shape):
            return op.expanded_like(op.constant(value, op.data.dtype), op.data)
        return _constant(op, [op.size(op.data, axis) for axis in range(op.data.rank)], value, op.data.dtype)

    return convert


def full_like(op: Operation) -> Value:
    shape = [op.size(op.data, axis) for axis in range(op.data.rank)]
    return _constant(op, shape, op.attributes.number("fill_value"), _dtype(op, op.data.dtype))


def arange(op: Operation) -> Value:
    """Start, stop and step as in numpy; every number ``repeat`` times."""
    if op.attributes.boolean("infer_range", default=False):
        raise op.unsupported("infer_range=True", "give stop= to arange")
    start, step = op.attributes.number("start"), op.attributes.number("step", 1.0)
    if not op.attributes.has("stop"):
        start, stop = 0.0, start
    else:
        stop = op.attributes.number("stop")
    if not all(map(math.isfinite, (start, stop, step))) or step == 0.0:
        raise op.unsupported(f"a range from {start} to {stop} in steps of {step}")
    count = max(0.0, (stop - start) / step)
    if count > MAX_ELEMENTS:
        raise op.unsupported(f"a range of {count:g} numbers")
    numbers = start + step * np.arange(math.ceil(count))
    return _repeated(op, numbers, _dtype(op))


def _repeated(op: Operation, numbers: NDArray[Any], dtype: str) -> Value:
    times = op.attributes.integer("repeat", 1)
    require_reasonable(op, (numbers.size, max(times, 0)))
    if times < 1 or not numbers.size:
        raise op.unsupported(f"repeat={times} of {numbers.size} numbers")
    return op.constant(np.repeat(numbers, times), dtype)


def arange_like(op: Operation) -> Value:
    """As many numbers as the data has elements, or as one of its axes is long."""
    start, step = op.attributes.number("start", 0.0), op.attributes.number("step", 1.0)
    times = op.attributes.integer("repeat", 1)
    if op.attributes.has("axis"):
        axes: Sequence[int] = (op.axis(op.attributes.integer("axis"), op.data.rank),)
    else:
        axes = range(op.data.rank)
    shape = tuple(op.size(op.data, axis) for axis in axes)
    total = math.prod(require_reasonable(op, shape))
    if times < 1:
        raise op.unsupported(f"repeat={times}")
    return op.constant((start + step * (np.arange(total) // times)).reshape(shape), op.data.dtype)


def linspace(op: Operation) -> Value:
    count = op.attributes.integer("num")
    require_reasonable(op, (count,))
    endpoint = op.attributes.boolean("endpoint", default=True)
    start, stop = op.attributes.number("start"), op.attributes.number("stop")
    if count < 1 or not math.isfinite(start) or not math.isfinite(stop):
        raise op.unsupported(f"{count} numbers from {start} to {stop}")
    return op.constant(np.linspace(start, stop, count, endpoint=endpoint), _dtype(op))


def eye(op: Operation) -> Value:
    rows, columns, offset = (op.attributes.integer(name, 0) for name in ("N", "M", "k"))
    return _eye(op, rows, columns or rows, offset)


def identity_matrix(op: Operation) -> Value:
    size = op.attributes.integers("shape")[:1] or (0,)
    return _eye(op, size[0], size[0], 0)


def _eye(op: Operation, rows: int, columns: int, offset: int) -> Value:
    require_reasonable(op, (rows, columns))
    if min(rows, columns) < 1 or abs(offset) > max(rows, columns):
        raise op.unsupported(f"ones on the diagonal {offset} of {rows} x {columns}")
    return op.constant(np.eye(rows, columns, offset), _dtype(op))


def shape_array(op: Operation) -> Value:
    if any(isinstance(dim, str) for dim in op.data.shape):
        return op.emit("Shape", op.data)
    return op.constant([op.size(op.data, axis) for axis in range(op.data.rank)])


def size_array(op: Operation) -> Value:
    return op.constant([math.prod(op.size(op.data, axis) for axis in range(op.data.rank))])


CONVERTERS: dict[str, Converter] = {
    "_arange": arange,
    "_contrib_arange_like": arange_like,
    "_eye": eye,
    "_full": full,
    "_linspace": linspace,
    "_ones": filled(1.0),
    "_zeros": filled(0.0),
    "ones_like": filled_like(1.0),
    "shape_array": shape_array,
    "size_array": size_array,
    "zeros_like": filled_like(0.0),
}

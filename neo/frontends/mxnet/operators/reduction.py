"""Sums, means, extremes and norms along axes."""

from __future__ import annotations

import math

import numpy as np

from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Converter, Operation


def reduce(operator: str) -> Converter:
    return lambda op: reduced(op, operator, _in_wanted_type(op))


def averaged(op: Operation) -> Value:
    return reduced(op, "ReduceMean", _in_wanted_type(op))


def _in_wanted_type(op: Operation) -> Value:
    """Numpy's operators may name the type to count in, and count truths as whole numbers."""
    dtypes = ("bool", "float16", "float32", "float64", "int32", "int64", "int8")
    default = "int64" if op.data.dtype == "bool" else op.data.dtype
    return op.cast(op.data, op.attributes.choice("dtype", dtypes, default))


def reduced(op: Operation, operator: str, value: Value) -> Value:
    """The value reduced as the attributes axis, exclude and keepdims say."""
    axes = _axes(op, value)
    keep = op.attributes.boolean("keepdims", default=False)
    if not axes:
        return value
    # outside numpy's mode MXNet has no tensors without dimensions: a single number has the shape (1,)
    whole = len(axes) == value.rank and not keep and not op.numpy
    result = along(op, operator, value, axes, keep=keep or whole)
    return op.reshape(result, (1,)) if whole else result


def along(op: Operation, operator: str, value: Value, axes: tuple[int, ...], *, keep: bool) -> Value:
    if not axes:
        return value
    # in opset 17 only the sum takes its axes as an input
    if operator == "ReduceSum":
        return op.emit(operator, value, op.constant(axes), keepdims=int(keep))
    return op.emit(operator, value, axes=axes, keepdims=int(keep))


def _axes(op: Operation, value: Value) -> tuple[int, ...]:
    rank = value.rank
    named = {op.axis(axis, rank) for axis in op.attributes.integers("axis", ())}
    if not named:
        return tuple(range(rank))
    if op.attributes.boolean("exclude", default=False):
        named = set(range(rank)) - named
    return tuple(sorted(named))


def without_nan(operator: str, neutral: float) -> Converter:
    def convert(op: Operation) -> Value:
        missing = op.emit("IsNaN", op.data)
        return reduced(op, operator, op.emit("Where", missing, op.constant(neutral, op.data.dtype), op.data))

    return convert


def norm(op: Operation) -> Value:
    """The sum of the absolute values, or the root of the sum of the squares."""
    order = op.attributes.integer("ord", 2)
    if order not in {1, 2}:
        raise op.unsupported(f"ord={order}; 1 and 2 are converted")
    dtypes = ("float16", "float32", "float64")
    data = op.cast(op.data, op.attributes.choice("out_dtype", dtypes, op.data.dtype))
    return reduced(op, f"ReduceL{order}", data)


def moments(op: Operation) -> tuple[Value, Value]:
    """Mean and variance."""
    axes = tuple(sorted({op.axis(axis, op.data.rank) for axis in op.attributes.integers("axes", ())}))
    axes = axes or tuple(range(op.data.rank))
    keep = op.attributes.boolean("keepdims", default=False)
    mean, variance = _mean_and_variance(op, axes)
    if keep or not axes:
        return mean, variance
    if len(axes) == op.data.rank and not op.numpy:
        return op.reshape(mean, (1,)), op.reshape(variance, (1,))
    return tuple(op.emit("Squeeze", value, op.constant(axes)) for value in (mean, variance))  # type: ignore[return-value]


def _mean_and_variance(op: Operation, axes: tuple[int, ...]) -> tuple[Value, Value]:
    mean = along(op, "ReduceMean", op.data, axes, keep=True)
    distance = op.emit("Sub", op.data, mean)
    return mean, along(op, "ReduceMean", op.emit("Mul", distance, distance), axes, keep=True)


def spread(*, root: bool) -> Converter:
    """Numpy's variance, or its root, with ddof degrees of freedom taken off the count."""

    def convert(op: Operation) -> Value:
        data = op.data if np.dtype(op.data.dtype).kind == "f" else op.cast(op.data, "float32")
        axes = _axes(op, data)
        distance = op.emit("Sub", data, along(op, "ReduceMean", data, axes, keep=True))
        variance = reduced(op, "ReduceMean", op.emit("Mul", distance, distance))
        freedom = op.attributes.integer("ddof", 0)
        if freedom:
            count = math.prod(op.size(data, axis) for axis in axes)
            if not 0 <= freedom < count:
                raise op.unsupported(f"ddof={freedom} of {count} elements")
            variance = op.emit("Mul", variance, op.constant(count / (count - freedom), data.dtype))
        return op.emit("Sqrt", variance) if root else variance

    return convert


def truth(operator: str) -> Converter:
    """Whether all, or any, are true, as bool."""
    return lambda op: op.cast(reduced(op, operator, op.cast(op.cast(op.data, "bool"), "int32")), "bool")


CONVERTERS: dict[str, Converter] = {
    "max": reduce("ReduceMax"),
    "mean": averaged,
    "min": reduce("ReduceMin"),
    "moments": moments,
    "nanprod": without_nan("ReduceProd", 1.0),
    "nansum": without_nan("ReduceSum", 0.0),
    "norm": norm,
    "prod": reduce("ReduceProd"),
    "sum": reduce("ReduceSum"),
}

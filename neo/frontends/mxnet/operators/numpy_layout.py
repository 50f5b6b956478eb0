"""Numpy's ways to join, turn and complete tensors."""

from __future__ import annotations

import numpy as np

from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Converter, Operation
from neo.frontends.mxnet.operators.elementwise import promoted
from neo.frontends.mxnet.operators.indexing import reversed_axes

_BEYOND_THREE = {0: [0, 1, 2], 1: [0, 2], 2: [2]}


def at_least(rank: int) -> Converter:
    """Dimensions of 1 before, and for three also behind; every input is an output."""
    return lambda op: tuple(_grown(op, value, rank) for value in op.inputs)


def _grown(op: Operation, value: Value, rank: int) -> Value:
    if value.rank >= rank:
        return value
    axes = _BEYOND_THREE[value.rank] if rank == 3 else range(rank - value.rank)
    return op.emit("Unsqueeze", value, op.constant(axes))


def as_columns(op: Operation) -> Value:
    """Vectors become columns."""
    columns = [op.reshape(value, (-1, 1)) if value.rank < 2 else value for value in op.inputs]
    return op.emit("Concat", *columns, axis=1)


def roll(op: Operation) -> Value:
    """What leaves at one end comes in at the other; without an axis, of all elements in a row."""
    shifts = op.attributes.integers("shift")
    if not op.attributes.has("axis"):
        if len(shifts) != 1:
            raise op.unsupported(f"shift={shifts}")
        flat = op.reshape(op.data, (-1,))
        return op.reshape(_rolled(op, flat, 0, shifts[0]), op.sizes(op.data))
    axes = [op.axis(axis, op.data.rank) for axis in op.attributes.integers("axis")]
    shifts = shifts * len(axes) if len(shifts) == 1 else shifts
    if len(shifts) != len(axes):
        raise op.unsupported(f"shift={shifts}, axis={axes}")
    value = op.data
    for axis, shift in zip(axes, shifts, strict=True):
        value = _rolled(op, value, axis, shift)
    return value


def _rolled(op: Operation, value: Value, axis: int, shift: int) -> Value:
    size = op.size(value, axis)
    shift %= size
    if not shift:
        return value
    end, start = op.emit_several("Split", 2, value, op.constant([size - shift, shift]), axis=axis)
    return op.emit("Concat", start, end, axis=axis)


def quarter_turns(op: Operation) -> Value:
    turns, rank = op.attributes.integer("k", 1) % 4, op.data.rank
    axes = [op.axis(axis, rank) for axis in op.attributes.integers("axes", (0, 1))]
    if len(axes) != 2 or axes[0] == axes[1]:
        raise op.unsupported(f"axes={axes}")
    if turns == 2:
        return reversed_axes(op, op.data, axes)
    order = list(range(rank))
    order[axes[0]], order[axes[1]] = axes[1], axes[0]
    if turns == 1:
        return op.transposed(reversed_axes(op, op.data, axes[1:]), order)
    return reversed_axes(op, op.transposed(op.data, order), axes[1:]) if turns else op.data


def difference(op: Operation) -> Value:
    """Of neighbours along an axis, n times."""
    axis, value = op.axis(op.attributes.integer("axis", -1), op.data.rank), op.data
    count, along = op.attributes.integer("n", 1), op.constant([axis])
    size = op.size(value, axis)
    if not 0 <= count < size:
        raise op.unsupported(f"n={count} of a dimension of {size}")
    for left in range(size, size - count, -1):
        later = op.emit("Slice", value, op.constant([1]), op.constant([left]), along)
        value = op.emit("Sub", later, op.emit("Slice", value, op.constant([0]), op.constant([left - 1]), along))
    return value


def numbers_for_nan(op: Operation) -> Value:
    """Given numbers in place of NaN and the infinities; for these, the largest there are if none is given."""
    dtype = op.data.dtype
    if np.dtype(dtype).kind != "f":
        return op.data
    largest, zero = float(np.finfo(dtype).max), op.constant(0.0, dtype)
    above, below = op.attributes.number("posinf", largest), op.attributes.number("neginf", -largest)
    infinite = op.emit("IsInf", op.data)
    edges = op.emit("Where", op.emit("Greater", op.data, zero), op.constant(above, dtype), op.constant(below, dtype))
    value = op.emit("Where", infinite, edges, op.data)
    return op.emit("Where", op.emit("IsNaN", op.data), op.constant(op.attributes.number("nan", 0.0), dtype), value)


def infinite(*, positive: bool) -> Converter:
    return lambda op: op.emit("IsInf", op.data, detect_negative=int(not positive), detect_positive=int(positive))


def angle(op: Operation) -> Value:
    """Of the point (x, y), y first, from -pi to pi."""
    y, x = promoted(op, op.data, op.input(1, "x"))
    zero, half = op.constant(0.0, x.dtype), op.constant(np.pi / 2, x.dtype)
    slope = op.emit("Atan", op.emit("Div", y, x))
    turn = op.emit("Where", op.emit("Less", y, zero), op.constant(-np.pi, x.dtype), op.constant(np.pi, x.dtype))
    left = op.emit("Where", op.emit("Less", x, zero), op.emit("Add", slope, turn), slope)
    return op.emit("Where", op.emit("Equal", x, zero), op.emit("Mul", op.emit("Sign", y), half), left)


def with_sign(op: Operation) -> Value:
    size, sign = promoted(op, op.data, op.input(1, "sign"))
    positive = op.emit("Abs", size)
    return op.emit("Where", op.emit("Less", sign, op.constant(0.0, sign.dtype)), op.emit("Neg", positive), positive)


CONVERTERS: dict[str, Converter] = {
    **{f"_np_atleast_{rank}d": at_least(rank) for rank in (1, 2, 3)},
    "_np_roll": roll,
    "_npi_arctan2": angle,
    "_npi_column_stack": as_columns,
    "_npi_copysign": with_sign,
    "_npi_diff": difference,
    "_npi_isneginf": infinite(positive=False),
    "_npi_isposinf": infinite(positive=True),
    "_npi_nan_to_num": numbers_for_nan,
    "_npi_rot90": quarter_turns,
}

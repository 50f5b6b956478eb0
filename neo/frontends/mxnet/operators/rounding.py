"""Rounding and remainders, where MXNet's rules are not ONNX's."""

from __future__ import annotations

import numpy as np

from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Converter, Operation


def round_half_away(op: Operation) -> Value:
    """Halves go away from zero, as in C's round; ONNX's go to the even neighbour."""
    half = op.emit("Add", op.emit("Abs", op.data), op.constant(0.5, op.data.dtype))
    return op.emit("Mul", op.emit("Sign", op.data), op.emit("Floor", half))


def round_half_down(op: Operation) -> Value:
    """MXNet's rint: halves go to the smaller neighbour."""
    return op.emit("Ceil", op.emit("Sub", op.data, op.constant(0.5, op.data.dtype)))


def truncate(op: Operation) -> Value:
    return op.emit("Mul", op.emit("Sign", op.data), op.emit("Floor", op.emit("Abs", op.data)))


def divided_remainder(op: Operation, left: Value, right: Value) -> Value:
    """What division leaves, with the sign of the divisor; 0 where the divisor is 0, as MXNet has it."""
    zero = op.constant(0, right.dtype)
    if np.dtype(left.dtype).kind != "f":
        # of whole numbers ONNX's own remainder has that sign; a division by 0 would end the process
        by_zero = op.emit("Equal", right, zero)
        safe = op.emit("Where", by_zero, op.constant(1, right.dtype), right)
        return op.emit("Where", by_zero, zero, op.emit("Mod", left, safe, fmod=0))
    rest = op.emit("Mod", left, right, fmod=1)
    opposite = op.emit("Less", op.emit("Mul", rest, right), zero)
    rest = op.emit("Where", opposite, op.emit("Add", rest, right), rest)
    return op.emit("Where", op.emit("Equal", right, zero), zero, rest)


CONVERTERS: dict[str, Converter] = {
    "fix": truncate,
    "rint": round_half_down,
    "round": round_half_away,
    "trunc": truncate,
}

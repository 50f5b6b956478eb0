"""Sequences of different lengths in one batch: data of (time, batch, ...), or (batch, time, ...) with axis=1."""

from __future__ import annotations

from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Converter, Operation
from neo.frontends.mxnet.operators.indexing import reversed_axes
from neo.frontends.mxnet.operators.masks import before_length


def _time_axis(op: Operation) -> int:
    axis = op.attributes.integer("axis", 0)
    if axis not in {0, 1} or op.data.rank < 2:
        raise op.unsupported(f"axis={axis} of {op.data}")
    return axis


def _lengths(op: Operation) -> Value | None:
    """One per example, or None if all are as long as the data."""
    if not op.attributes.boolean("use_sequence_length", default=False):
        return None
    return op.cast(op.input(1, "sequence_length"), "int64")


def sequence_mask(op: Operation) -> Value:
    axis, lengths = _time_axis(op), _lengths(op)
    if lengths is None:
        return op.data
    fill = op.constant(op.attributes.number("value", 0.0), op.data.dtype)
    return op.emit("Where", before_length(op, op.data, lengths, axis), op.data, fill)


def sequence_last(op: Operation) -> Value:
    axis, lengths = _time_axis(op), _lengths(op)
    if lengths is None:
        last = op.constant(op.size(op.data, axis) - 1)
        return op.emit("Gather", op.data, last, axis=axis)
    by_example = op.moved(op.data, axis, 1)
    last = op.emit("Sub", op.reshape(lengths, (-1, 1)), op.constant(1))
    return op.emit("GatherND", by_example, last, batch_dims=1)


def sequence_reverse(op: Operation) -> Value:
    axis, lengths = _time_axis(op), _lengths(op)
    if lengths is None:
        return reversed_axes(op, op.data, [axis])
    return op.emit("ReverseSequence", op.data, lengths, time_axis=axis, batch_axis=1 - axis)


CONVERTERS: dict[str, Converter] = {
    "SequenceLast": sequence_last,
    "SequenceMask": sequence_mask,
    "SequenceReverse": sequence_reverse,
}

"""What sequences of different lengths in one batch need, and what only matters to training."""

from __future__ import annotations

from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Operation


def passed_through(op: Operation) -> Value:
    """What only matters to training."""
    return op.data


def before_length(op: Operation, x: Value, lengths: Value, axis: int) -> Value:
    """bool, to be broadcast to x: whether an element's position along ``axis`` is below the length of its row.

    lengths: any type, with the dimensions of x but ``axis``, or with the first few of these.
    """
    positions = op.counting(op.size(x, axis), [-1 if number == axis else 1 for number in range(x.rank)])
    limits = op.emit("Unsqueeze", op.cast(lengths, "int64"), op.constant([axis]))
    missing = x.rank - limits.rank
    if missing < 0:
        raise op.unsupported(f"lengths {lengths} for {x}")
    if missing:
        limits = op.emit("Unsqueeze", limits, op.constant(range(limits.rank, x.rank)))
    return op.emit("Less", positions, limits)

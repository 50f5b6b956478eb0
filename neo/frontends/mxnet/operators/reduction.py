"""Sums, means and extremes along axes."""

from __future__ import annotations

from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Converter, Operation


def reduce(operator: str) -> Converter:
    def convert(op: Operation) -> Value:
        axes = _axes(op)
        keep = op.attributes.boolean("keepdims", default=False)
        if not axes:
            return op.data
        whole = len(axes) == op.data.rank and not keep
        result = _emit(op, operator, axes, keep=keep or whole)
        # MXNet has no tensors without dimensions: a single number has the shape (1,)
        return op.reshape(result, (1,)) if whole else result

    return convert


def _emit(op: Operation, operator: str, axes: tuple[int, ...], *, keep: bool) -> Value:
    # in opset 17 only the sum takes its axes as an input
    if operator == "ReduceSum":
        return op.emit(operator, op.data, op.constant(axes), keepdims=int(keep))
    return op.emit(operator, op.data, axes=axes, keepdims=int(keep))


def _axes(op: Operation) -> tuple[int, ...]:
    rank = op.data.rank
    named = {op.axis(axis, rank) for axis in op.attributes.integers("axis", ())}
    if not named:
        return tuple(range(rank))
    if op.attributes.boolean("exclude", default=False):
        named = set(range(rank)) - named
    return tuple(sorted(named))


CONVERTERS: dict[str, Converter] = {
    "sum": reduce("ReduceSum"),
    "sum_axis": reduce("ReduceSum"),
    "mean": reduce("ReduceMean"),
    "max": reduce("ReduceMax"),
    "max_axis": reduce("ReduceMax"),
    "min": reduce("ReduceMin"),
    "min_axis": reduce("ReduceMin"),
    "prod": reduce("ReduceProd"),
}

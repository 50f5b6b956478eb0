"""Diagonals, triangles and determinants of matrices, which stand in the last two axes."""

from __future__ import annotations

import numpy as np

from neo.errors import InputSpecError
from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Converter, Operation
from neo.frontends.mxnet.operators.creation import require_reasonable
from neo.frontends.mxnet.operators.reduction import along


def _require_matrices(op: Operation, value: Value) -> None:
    if value.rank < 2:
        op.require_rank(value, 2)


def _diagonal(op: Operation, value: Value, offset: int) -> Value:
    """(..., rows, columns) -> (..., length)."""
    _require_matrices(op, value)
    *batch, rows, columns = op.sizes(value)
    require_reasonable(op, (rows, columns))
    row = np.arange(max(0, -offset), min(rows, columns - offset))
    if not row.size:
        raise InputSpecError(f"{op.where}: {value} has no diagonal {offset}")
    flat = op.reshape(value, (*batch, rows * columns))
    return op.emit("Gather", flat, op.constant(row * columns + row + offset), axis=len(batch))


def _on_diagonal(op: Operation, value: Value, offset: int) -> Value:
    """(..., length) -> matrices with it on a diagonal and zeros elsewhere."""
    length, last = op.size(value, value.rank - 1), value.rank - 1
    side, _ = require_reasonable(op, (length + abs(offset), length + abs(offset)))
    # beside the other axis, the numbers stand in the row that they go to
    filled = [0] * last + [max(0, -offset)] + [0] * last + [max(0, offset)]
    rows = op.emit("Pad", value, op.constant(filled), op.constant(0.0, value.dtype))
    rows = op.emit("Unsqueeze", rows, op.constant([last + 1]))
    place = op.constant(np.eye(side, k=offset), "bool")
    return op.emit("Where", place, rows, op.constant(0.0, value.dtype))


def diag(op: Operation) -> Value:
    """A vector becomes a matrix; of anything else, the diagonal between two axes is taken and put last."""
    offset = op.attributes.integer("k", 0)
    if op.data.rank == 1:
        return _on_diagonal(op, op.data, offset)
    return _diagonal(op, _axes_last(op), offset)


def diagonal(op: Operation) -> Value:
    return _diagonal(op, _axes_last(op), op.attributes.integer("offset", 0))


def trace(op: Operation) -> Value:
    found = diagonal(op)
    return along(op, "ReduceSum", found, (found.rank - 1,), keep=False)


def _axes_last(op: Operation) -> Value:
    _require_matrices(op, op.data)
    rank = op.data.rank
    first, second = (
        op.axis(op.attributes.integer(name, default), rank) for name, default in (("axis1", 0), ("axis2", 1))
    )
    if first == second:
        raise op.unsupported(f"axis1={first}, axis2={second}")
    others = [axis for axis in range(rank) if axis not in {first, second}]
    return op.transposed(op.data, [*others, first, second])


def extracted_diagonal(op: Operation) -> Value:
    return _diagonal(op, op.data, op.attributes.integer("offset", 0))


def made_of_diagonal(op: Operation) -> Value:
    return _on_diagonal(op, op.data, op.attributes.integer("offset", 0))


def sum_of_logarithms(op: Operation) -> Value:
    """Of what stands on the diagonals."""
    found = op.emit("Log", _diagonal(op, op.data, 0))
    total = along(op, "ReduceSum", found, (found.rank - 1,), keep=False)
    # MXNet has no tensors without dimensions
    return total if total.rank else op.reshape(total, (1,))


def determinant(op: Operation) -> Value:
    _require_matrices(op, op.data)
    found = op.emit("Det", op.data)
    return found if found.rank or op.numpy else op.reshape(found, (1,))


def triangular_product(op: Operation) -> Value:
    """Alpha A B, or alpha B A, where A is a triangle of a matrix, transposed or not."""
    triangle, other = op.data, op.input(1, "B")
    _require_matrices(op, triangle)
    lower = op.attributes.boolean("lower", default=True)
    triangle = op.emit("Trilu", triangle, upper=int(not lower))
    if op.attributes.boolean("transpose", default=False):
        order = [*range(triangle.rank - 2), triangle.rank - 1, triangle.rank - 2]
        triangle = op.transposed(triangle, order)
    pair = (other, triangle) if op.attributes.boolean("rightside", default=False) else (triangle, other)
    return op.emit("Mul", op.emit("MatMul", *pair), op.constant(op.attributes.number("alpha", 1.0), triangle.dtype))


def lower_triangle(op: Operation) -> Value:
    _require_matrices(op, op.data)
    return op.emit("Trilu", op.data, op.constant(op.attributes.integer("k", 0)), upper=0)


CONVERTERS: dict[str, Converter] = {
    "_linalg_det": determinant,
    "_linalg_extractdiag": extracted_diagonal,
    "_linalg_makediag": made_of_diagonal,
    "_linalg_sumlogdiag": sum_of_logarithms,
    "_linalg_trmm": triangular_product,
    "_np_diag": diag,
    "_np_diagonal": diagonal,
    "_np_trace": trace,
    "_npi_tril": lower_triangle,
    "diag": diag,
}

"""Matrix products."""

from __future__ import annotations

from neo.errors import InputSpecError
from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Converter, Operation


def fully_connected(op: Operation) -> Value:
    weight = op.input(1, "weight")
    op.require_rank(weight, 2)
    bias = None if op.attributes.boolean("no_bias", default=False) else op.input(2, "bias")
    if op.attributes.boolean("flatten", default=True) or op.data.rank == 2:
        rows = op.data if op.data.rank == 2 else op.emit("Flatten", op.data, axis=1)
        _require_features(op, rows, weight)
        return op.emit("Gemm", rows, weight, bias, transB=1)
    _require_features(op, op.data, weight)
    product = op.emit("MatMul", op.data, op.emit("Transpose", weight, perm=(1, 0)))
    return product if bias is None else op.emit("Add", product, bias)


def _require_features(op: Operation, rows: Value, weight: Value) -> None:
    found, wanted = rows.shape[op.axis(-1, rows.rank)], op.size(weight, 1)
    if isinstance(found, int) and found != wanted:
        raise InputSpecError(
            f"{op.where} wants {wanted} features per example, found {found} in {op.data}",
            hint="is --input the size that the model was trained with?",
        )


def _matrices(op: Operation) -> tuple[Value, Value]:
    """Both inputs, with their last two axes exchanged where the attributes say so."""
    right = op.input(1, "right side")
    result = []
    for value, name in ((op.data, "transpose_a"), (right, "transpose_b")):
        order = list(range(value.rank))
        if value.rank < 2:
            raise InputSpecError(f"{op.where} multiplies matrices, found {value}")
        if op.attributes.boolean(name, default=False):
            order[-2:] = order[:-3:-1]
        result.append(op.transposed(value, order))
    return result[0], result[1]


def batch_dot(op: Operation) -> Value:
    if not op.numpy:
        op.require_rank(op.data, 3)
        op.require_rank(op.input(1, "right side"), 3)
    return op.emit("MatMul", *_matrices(op))


def dot(op: Operation) -> Value:
    """The last axis of the left side with the first of the right one; the first and the last if transposed."""
    left, right = op.data, op.input(1, "right side")
    if min(left.rank, right.rank) < 1:
        return op.emit("Mul", left, right)
    if op.attributes.boolean("transpose_a", default=False):
        left = op.moved(left, 0, left.rank - 1)
    if op.attributes.boolean("transpose_b", default=False):
        right = op.moved(right, right.rank - 1, 0)
    shape = (*left.shape[:-1], *right.shape[1:])
    if left.rank > 2:
        left = op.reshape(left, (-1, op.size(left, left.rank - 1)))
    if right.rank > 2:
        right = op.reshape(right, (op.size(right, 0), -1))
    product = op.emit("MatMul", left, right)
    if not shape and not op.numpy:
        # MXNet has no tensors without dimensions
        return op.reshape(product, (1,))
    return product if len(shape) == product.rank else _in_shape(op, product, shape)


def _in_shape(op: Operation, value: Value, shape: tuple[int | str, ...]) -> Value:
    """One dimension may be dynamic: it is what is left."""
    if sum(isinstance(dim, str) for dim in shape) > 1:
        raise InputSpecError(f"{op.where} keeps more than one dynamic dimension", hint="fix them with --dim NAME=1")
    return op.reshape(value, tuple(dim if isinstance(dim, int) else -1 for dim in shape))


def _scaled(op: Operation, value: Value, name: str) -> Value:
    factor = op.attributes.number(name, 1.0)
    return value if factor == 1.0 else op.emit("Mul", value, op.constant(factor, value.dtype))


def _require_last_axes(op: Operation) -> None:
    if op.attributes.integer("axis", -2) not in {-2, op.data.rank - 2}:
        raise op.unsupported(f"axis={op.attributes.integer('axis', -2)}; matrices in the last two axes are converted")


def gemm2(op: Operation) -> Value:
    """Alpha A B, matrix by matrix."""
    _require_last_axes(op)
    return _scaled(op, op.emit("MatMul", *_matrices(op)), "alpha")


def gemm(op: Operation) -> Value:
    """Alpha A B + beta C, matrix by matrix."""
    return op.emit("Add", gemm2(op), _scaled(op, op.input(2, "C"), "beta"))


def syrk(op: Operation) -> Value:
    """Alpha A A^T, or alpha A^T A."""
    if op.data.rank < 2:
        op.require_rank(op.data, 2)
    order = list(range(op.data.rank))
    order[-2:] = order[:-3:-1]
    pair = (op.data, op.transposed(op.data, order))
    first, second = reversed(pair) if op.attributes.boolean("transpose", default=False) else pair
    return _scaled(op, op.emit("MatMul", first, second), "alpha")


CONVERTERS: dict[str, Converter] = {
    "FullyConnected": fully_connected,
    "_linalg_gemm": gemm,
    "_linalg_gemm2": gemm2,
    "_linalg_syrk": syrk,
    "batch_dot": batch_dot,
    "dot": dot,
}

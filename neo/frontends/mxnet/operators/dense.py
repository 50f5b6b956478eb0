"""Matrix products and table look-ups."""

from __future__ import annotations

from neo.errors import InputSpecError
from neo.frontends.mxnet.onnx_graph import INT64, Value
from neo.frontends.mxnet.operation import Operation


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
    found, wanted = rows.shape[-1], op.size(weight, 1)
    if isinstance(found, int) and found != wanted:
        raise InputSpecError(
            f"{op.where} wants {wanted} features per example, found {found} in {op.data}",
            hint="is --input the size that the model was trained with?",
        )


def embedding(op: Operation) -> Value:
    """MXNet takes indices of any type, floats too."""
    indices = op.data if op.data.dtype in {"int32", "int64"} else op.emit("Cast", op.data, to=INT64)
    return op.emit("Gather", op.input(1, "weight"), indices, axis=0)


def batch_dot(op: Operation) -> Value:
    left, right = op.data, op.input(1, "right side")
    op.require_rank(left, 3)
    op.require_rank(right, 3)
    if op.attributes.boolean("transpose_a", default=False):
        left = op.emit("Transpose", left, perm=(0, 2, 1))
    if op.attributes.boolean("transpose_b", default=False):
        right = op.emit("Transpose", right, perm=(0, 2, 1))
    return op.emit("MatMul", left, right)

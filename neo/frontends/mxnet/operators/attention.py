"""Attention over projections that lie interleaved: (time, batch, heads x parts x features).

Source: MXNet 1.9.1, src/operator/contrib/transformer.cc.
"""

from __future__ import annotations

import math

from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Converter, Operation


def _heads(op: Operation) -> int:
    heads = op.attributes.integer("heads")
    if heads < 1:
        raise op.unsupported(f"heads={heads}")
    return heads


def _part(op: Operation, value: Value, parts: int, number: int) -> Value:
    """One of the interleaved parts as (batch heads, time, features)."""
    op.require_rank(value, 3)
    heads, (time, batch, width) = _heads(op), op.sizes(value)
    if width % (heads * parts):
        raise op.unsupported(f"{heads} heads of {parts} parts in {value}")
    features = width // (heads * parts)
    split = op.reshape(value, (time, batch * heads, parts, features))
    chosen = op.emit("Gather", split, op.constant(number), axis=2)
    return op.emit("Transpose", chosen, perm=(1, 0, 2))


def _scores(op: Operation, queries: Value, keys: Value) -> Value:
    scaled = op.emit("Div", queries, op.constant(math.sqrt(op.size(queries, 2)), queries.dtype))
    return op.emit("MatMul", scaled, op.emit("Transpose", keys, perm=(0, 2, 1)))


def _weighted(op: Operation, attention: Value, values: Value) -> Value:
    """(batch heads, time, time) and (batch heads, time, features) to (time, batch, heads features)."""
    heads, result = _heads(op), op.emit("MatMul", attention, values)
    rows, time, features = op.sizes(result)
    return op.reshape(op.emit("Transpose", result, perm=(1, 0, 2)), (time, rows // heads, heads * features))


def self_attention_scores(op: Operation) -> Value:
    return _scores(op, _part(op, op.data, 3, 0), _part(op, op.data, 3, 1))


def self_attention_values(op: Operation) -> Value:
    return _weighted(op, op.input(1, "attention"), _part(op, op.data, 3, 2))


def cross_attention_scores(op: Operation) -> Value:
    return _scores(op, _part(op, op.data, 1, 0), _part(op, op.input(1, "keys_values"), 2, 0))


def cross_attention_values(op: Operation) -> Value:
    return _weighted(op, op.input(1, "attention"), _part(op, op.data, 2, 1))


def div_sqrt_dim(op: Operation) -> Value:
    size = op.size(op.data, op.axis(-1, op.data.rank))
    return op.emit("Div", op.data, op.constant(math.sqrt(size), op.data.dtype))


CONVERTERS: dict[str, Converter] = {
    "_contrib_div_sqrt_dim": div_sqrt_dim,
    "_contrib_interleaved_matmul_encdec_qk": cross_attention_scores,
    "_contrib_interleaved_matmul_encdec_valatt": cross_attention_values,
    "_contrib_interleaved_matmul_selfatt_qk": self_attention_scores,
    "_contrib_interleaved_matmul_selfatt_valatt": self_attention_values,
}

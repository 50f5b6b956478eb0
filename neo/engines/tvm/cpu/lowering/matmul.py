"""Matrix products with sizes that tile well."""

from __future__ import annotations

import math
from typing import Any

from tvm import relax, te, tirx

from neo.engines.tvm.cpu.lowering.arithmetic import zero
from neo.engines.tvm.cpu.lowering.rows import Rows, cropped
from neo.engines.tvm.ir.indices import flatten, unflatten

FLOAT = "float32"


def takes(call: relax.Call) -> bool:
    """Are the operands float32, of rank 2 or more, with fixed shapes that are not empty?"""
    shapes = [argument.ty.shape for argument in call.args]
    fixed = all(isinstance(dim, tirx.IntImm) and int(dim) > 0 for shape in shapes for dim in shape)
    floats = all(str(argument.ty.dtype) == FLOAT for argument in call.args)
    return fixed and floats and str(call.ty.dtype) == FLOAT and all(len(shape) >= 2 for shape in shapes)


def matmul(a: te.Tensor, b: te.Tensor, columns: int, rows: Rows) -> te.Tensor:
    """a: [..., M, K], b: [..., K, N], as the arithmetic reads both -> [..., M, columns] float32; the leading dimensions
    broadcast as in numpy.

    columns: N, or less if b was padded with columns. If all matrices of a meet the same b, they are computed as one
    product with all of their rows.
    """
    a_lead, b_lead = (tuple(int(dim) for dim in tensor.shape[:-2]) for tensor in (a, b))
    if math.prod(b_lead) == 1:
        return _flat(a, b, columns, rows)
    return _batched(a, b, _broadcast(a_lead, b_lead), columns, rows)


def widened(b: te.Tensor, columns: int) -> te.Tensor:
    """B padded with columns of zeros, for a product whose columns no vector length divides."""
    own = int(b.shape[-1])
    if own == columns:
        return b

    def value(*at: tirx.Var) -> Any:
        return tirx.if_then_else(at[-1] < own, b(*at), zero(b))

    return te.compute((*b.shape[:-1], columns), value, name="widened")


def _flat(a: te.Tensor, b: te.Tensor, columns: int, rows: Rows) -> te.Tensor:
    *lead, height, _ = (int(dim) for dim in a.shape)
    rank, computed = max(len(a.shape), len(b.shape)), int(b.shape[-1])
    shape = [1] * (rank - len(a.shape)) + [*lead, height]
    count = math.prod(shape)
    step = te.reduce_axis((0, int(b.shape[-2])), name="k")

    def product(row: tirx.Var, column: tirx.Var) -> Any:
        at = unflatten(rows.clamp(row, count, computed), [*lead, height])
        weight = b(*[0] * (len(b.shape) - 2), step, column)
        return te.sum(rows.arithmetic.product(lambda k: a(*at, k), step, weight), axis=step)

    tall = rows.round_up(count, computed)
    wide = te.compute((tall, computed), product, name="matmul", attrs=rows.attrs(a))
    if (shape, computed) == ([tall], columns):
        return wide
    return te.compute((*shape, columns), lambda *at: wide[flatten(at[:-1], shape), at[-1]], name="rows")


def _batched(a: te.Tensor, b: te.Tensor, lead: tuple[int, ...], columns: int, rows: Rows) -> te.Tensor:
    height, steps, computed = int(a.shape[-2]), int(b.shape[-2]), int(b.shape[-1])
    step = te.reduce_axis((0, steps), name="k")

    def product(*at: tirx.Var) -> Any:
        *batch, row, column = at
        index = *_broadcast_index(batch, a), rows.clamp(row, height, computed)
        weight = b(*_broadcast_index(batch, b), step, column)
        return te.sum(rows.arithmetic.product(lambda k: a(*index, k), step, weight), axis=step)

    tall = rows.round_up(height, computed)
    result = te.compute((*lead, tall, computed), product, name="matmul")
    if (tall, computed) == (height, columns):
        return result
    return cropped(result, (*lead, height, columns))


def _broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    rank = max(len(a), len(b))
    a, b = ((1,) * (rank - len(lead)) + lead for lead in (a, b))
    return tuple(max(pair) for pair in zip(a, b, strict=True))


def _broadcast_index(batch: list[tirx.Var], tensor: te.Tensor) -> list[Any]:
    dims = [int(dim) for dim in tensor.shape[:-2]]
    own = batch[len(batch) - len(dims) :]
    return [0 if dim == 1 else index for index, dim in zip(own, dims, strict=True)]

"""Lays out the operands of an attention for its arithmetic, and calls its function."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from tvm import relax, te, tirx

from neo.engines.tvm.cpu.lowering import matmul
from neo.engines.tvm.cpu.lowering.arithmetic import FLOATS, PAIR_CHANNELS, Arithmetic, Pairs, encode, zero
from neo.engines.tvm.cpu.lowering.attention import Attention, Extents, Operand, ScoreUpdate, scalar_of, whole_vectors
from neo.engines.tvm.cpu.lowering.rows import Rows
from neo.engines.tvm.cpu.lowering.tiled import pays, whole_tiles
from neo.engines.tvm.cpu.lowering.transpose import Transpose, transpose_function
from neo.engines.tvm.cpu.units.amx import TILE_PAIRS, Product
from neo.engines.tvm.cpu.units.bfloat16 import pair
from neo.engines.tvm.cpu.units.tiles import choose_tile, round_up_vectors
from neo.engines.tvm.ir.expressions import name_of, shape_of
from neo.engines.tvm.tvm_private import FUSION_PATTERN, TAKES_EPILOGUE


def call_attention(builder: Any, attention: Attention, rows: Rows) -> relax.Call:
    """-> the call, which is not emitted yet; calls that lay out its operands are emitted."""
    if attention.q.shape[-1] % rows.arithmetic.depth:
        return call_attention(builder, attention, replace(rows, arithmetic=FLOATS))
    if _pays_in_tiles(attention, rows):
        rows = replace(rows, arithmetic=replace(rows.arithmetic, tiles=True))
    keys, extents = attention.v.shape[-2], _extents(attention, rows)
    q, k, v = attention.q, attention.k, attention.v
    if rows.arithmetic != FLOATS:
        q, k, v = (_stored(builder, operand) for operand in (q, k, v))
    updates = [replace(update, operand=_widened(builder, update, keys, extents.keys)) for update in attention.updates]
    variable = [update.operand for update in updates if scalar_of(update.operand) is None]
    form = replace(attention, q=q, k=k, v=v, updates=tuple(updates))
    return builder.call_te(
        lambda *tensors: form.compute(*tensors, extents=extents, arithmetic=rows.arithmetic),
        q.base,
        _keys(builder, k, rows, extents.keys),
        v.base if form.reads_values(extents.width, rows.arithmetic) else _values(builder, v, rows.arithmetic, extents),
        *variable,
        primfunc_name_hint="attention",
        primfunc_attrs={FUSION_PATTERN: TAKES_EPILOGUE},
    )


def _extents(attention: Attention, rows: Rows) -> Extents:
    queries, keys, depth = attention.q.shape[-2], attention.v.shape[-2], rows.arithmetic.depth
    width = whole_vectors(attention.v, rows)
    tall = rows.round_up(queries, width)
    if rows.arithmetic.tiles:  # keys are columns of the first product and channels of the second
        step = depth * TILE_PAIRS
        wide = -(-keys // step) * step
        return Extents(tall, wide, width, wide // depth)
    tile = choose_tile(tall, width, rows.lanes, rows.target.cpu.operand_registers)
    vectors = round_up_vectors(keys, tile.rows, rows.lanes, rows.target.cpu.operand_registers)
    return Extents(tall, vectors * rows.lanes, width, -(-keys // depth))


def _pays_in_tiles(attention: Attention, rows: Rows) -> bool:
    """Does the processor have AMX, and is it faster?"""
    *lead, queries, depth = attention.q.shape
    if not isinstance(rows.arithmetic, Pairs) or not rows.arithmetic.unit.tiles:
        return False
    if attention.q.axes[-1] != len(attention.q.axes) - 1:  # channels are not contiguous in memory
        return False
    keys = attention.v.shape[-2]
    scores = Product(math.prod(lead), queries, whole_tiles(keys), 1, depth // PAIR_CHANNELS)
    return scores.pairs % TILE_PAIRS == 0 and pays(scores, keys, rows.target)


def _widened(builder: Any, update: ScoreUpdate, keys: int, wide: int) -> relax.Expr:
    """The operand, padded to the width of the scores."""
    shape = shape_of(update.operand)
    if wide == keys or not shape or shape[-1] == 1:
        return update.operand
    return builder.emit_te(lambda x: matmul.widened(x, wide), update.operand, primfunc_name_hint="widened")


def _stored(builder: Any, operand: Operand) -> Operand:
    """The operand in bfloat16. It is rounded before a reshape, so that rounding fuses with the function that
    computes it.
    """
    bound: Any = builder.lookup_binding(operand.base) if isinstance(operand.base, relax.Var) else None
    origin = bound.args[0] if name_of(bound) == "reshape" else operand.base
    half = builder.emit_te(encode, origin, primfunc_name_hint="encode")
    if origin is not operand.base:
        half = builder.emit(relax.op.reshape(half, shape_of(operand.base)))
    return replace(operand, base=half)


def _keys(builder: Any, k: Operand, rows: Rows, wide: int) -> relax.Var:
    """[..., D, wide], as the arithmetic reads weights; the contents of the extra columns are never used."""
    *shape, last = shape_of(k.base)
    depth = rows.arithmetic.depth
    spec = Transpose((*shape, last // depth), k.axes, wide, pairs=depth > 1)
    # the transpose can make pairs of its last input dimension only
    if not spec.fits(rows.lanes) or (depth > 1 and k.axes[-2] != len(shape)):
        return builder.emit_te(
            lambda base: matmul.widened(_laid_out(k, base, depth), wide), k.base, primfunc_name_hint="keys"
        )
    function = builder.add_func(transpose_function(spec, rows.lanes), "keys")
    return builder.emit(
        relax.call_tir(function, relax.Tuple([k.base]), relax.TensorType(spec.output_shape, spec.dtype))
    )


def _values(builder: Any, v: Operand, arithmetic: Arithmetic, extents: Extents) -> relax.Var:
    """[..., extents.steps, extents.width], as the arithmetic reads weights, padded with zeros."""

    def values(base: te.Tensor) -> te.Tensor:
        laid_out = matmul.widened(_laid_out(v, base, arithmetic.depth), extents.width)
        *lead, own, width = (int(dim) for dim in laid_out.shape)
        if own == extents.steps:
            return laid_out

        def value(*at: tirx.Var) -> Any:
            return tirx.if_then_else(at[-2] < own, laid_out(*at), zero(laid_out))

        return te.compute((*lead, extents.steps, width), value, name="heightened")

    return builder.emit_te(values, v.base, primfunc_name_hint="values")


def _laid_out(operand: Operand, base: te.Tensor, depth: int) -> te.Tensor:
    """The transposed operand, without its factor. depth: 2 packs pairs of rows, the last one padded with zeros."""
    *lead, rows, columns = operand.shape

    def element(*at: tirx.Var) -> Any:
        *outer, row, column = at
        if depth == 1:
            return operand.at(base, at)
        low, high = (operand.at(base, (*outer, tirx.min(2 * row + part, rows - 1), column)) for part in (0, 1))
        return pair(low, high if rows % depth == 0 else tirx.Select(2 * row + 1 < rows, high, zero(base)))

    return te.compute((*lead, -(-rows // depth), columns), element, name="laid_out")

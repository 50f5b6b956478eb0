"""Skips products with rows of zero padding.

Padding above and below the image is known to be zero. Whether a row of the kernel reads such a row is the same for a
whole tile of outputs, so one condition around the loops of a tile skips it. With large dilation, that is half of the
work.
"""

from __future__ import annotations

from typing import Any

from tvm import s_tir, sym, tirx
from tvm.tirx.analysis import undefined_vars

from neo.engines.tvm.cpu.lowering.image_rows import image_rows_of
from neo.engines.tvm.ir.expressions import with_body


def skip_zeros(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """function: scheduled. Returned as it is if its loops are not of the expected form."""
    return function.with_body(_skipping(function.body))


def _skipping(statement: Any) -> Any:
    """TVM 0.27 has no statement visitor in Python: this handles the kinds that may contain such a reduction."""
    s = statement
    if isinstance(s, tirx.SeqStmt):
        return tirx.SeqStmt([_skipping(inner) for inner in s.seq])
    if isinstance(s, s_tir.SBlockRealize) and not s.iter_values:
        block = s.block
        parts = _skipping(block.body), block.init, block.alloc_buffers, block.match_buffers, block.annotations
        return s_tir.SBlockRealize(
            s.iter_values,
            s.predicate,
            s_tir.SBlock(block.iter_vars, block.reads, block.writes, block.name_hint, *parts),
        )
    if not isinstance(s, tirx.For):
        return s
    nest: list[Any] = [s]
    while isinstance(nest[-1], tirx.For):
        nest.append(nest[-1].body)
    *loops, inner = nest
    asked = _question(loops, inner) if isinstance(inner, s_tir.SBlockRealize) else None
    if asked is None:
        return with_body(s, _skipping(s.body))
    depth, condition = asked
    body = tirx.IfThenElse(condition, loops[depth].body, None)
    for loop in reversed(loops[: depth + 1]):
        body = with_body(loop, body)
    return body


def _question(loops: list[Any], realize: Any) -> tuple[int, Any] | None:
    """-> (index of the loop over the kernel's rows, condition for the row that is read to belong to the image)."""
    block = realize.block
    values = dict(zip([v.var.name for v in block.iter_vars], realize.iter_values, strict=True))
    sums = [v.var.name for v in block.iter_vars if v.iter_type == tirx.IterVar.CommReduce]
    rows = image_rows_of(block)
    if rows is None or not sums:
        return None
    outputs = [v.var.name for v in block.iter_vars if v.iter_type == tirx.IterVar.DataPar]
    step, row = values[sums[0]], values[outputs[-3]]
    depth = next((index for index, loop in enumerate(loops) if loop.loop_var.same_as(step)), None)
    if depth is None:
        return None
    known = sym.Analyzer()
    for loop in loops:
        if _is_one(loop):
            known.bind(loop.loop_var, loop.min)
    row = known.simplify(row)
    inside = [loop.loop_var for loop in loops[depth + 1 :]]
    if any(variable.same_as(used) for variable in inside for used in undefined_vars(row)):
        return None
    read = row * rows.stride + step * rows.dilation
    return depth, tirx.all(read >= rows.begin, read < rows.begin + rows.count)


def _is_one(loop: Any) -> bool:
    return isinstance(loop.extent, tirx.IntImm) and int(loop.extent) == 1

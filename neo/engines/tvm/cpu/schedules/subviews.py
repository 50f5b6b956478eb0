"""Parts of larger tensors (subviews), and functions that are changed to write into them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import ir, s_tir, te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T  # noqa: N812  # its name everywhere in TVM

from neo.contract.device import Target
from neo.engines.tvm.cpu.units.tiles import choose_lanes
from neo.engines.tvm.ir.expressions import with_body
from neo.engines.tvm.tvm_private import FLOPS, FUSION_PATTERN, IS_SCHEDULED, NO_ALIAS, OPAQUE, is_scheduled


class NotRedirected(Exception):
    """The function does more with its output than write it, or has statements of an unexpected kind."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A range of one axis."""

    #: of the whole tensor
    shape: tuple[int, ...]
    axis: int
    #: first index along the axis
    begin: int

    def of(self, indices: Sequence[Any]) -> list[Any]:
        """Indices into the part -> into the whole."""
        return [index + self.begin if axis == self.axis else index for axis, index in enumerate(indices)]


@dataclass(frozen=True, slots=True)
class Frame:
    """An image, [N, H, W, C], in a tensor that is padded with zeros."""

    #: of the whole tensor: [N, H', W', C]; with phases, [N, H', phases, W' / phases, C]
    shape: tuple[int, ...]
    #: rows of zeros above the image
    top: int
    #: columns of zeros on its left
    left: int
    #: stride of the convolution that reads it: column w is at [w % phases, w // phases], so that it reads neighbours
    phases: int = 1

    def of(self, indices: Sequence[Any]) -> list[Any]:
        """Indices into the image -> into the whole."""
        n, h, w, c = indices
        column = [w + self.left] if self.phases == 1 else _phase_and_column(w + self.left, self.phases)
        return [n, h + self.top, *column, c]


Subview = Slice | Frame


def _phase_and_column(column: Any, phases: int) -> list[Any]:
    return [column % phases, column // phases]


def redirected(function: tirx.PrimFunc, subview: Subview, *, twice: bool = False) -> tirx.PrimFunc:
    """The scheduled function with the whole tensor as its last parameter instead of its output; it writes the subview.

    twice: the former output stays as one more parameter after it, and is written too. Raises NotRedirected.
    """
    *inputs, part = function.params
    if is_scheduled(function):
        raise NotRedirected
    whole = tirx.decl_buffer(subview.shape, str(part.dtype), "whole")

    def store(old: tirx.BufferStore) -> tirx.Stmt:
        at = subview.of(old.indices)
        if not twice:
            return tirx.BufferStore(whole, old.value, at)
        return tirx.SeqStmt([old, tirx.BufferStore(whole, old.value, at)])

    outputs = [whole, part] if twice else [whole]
    body = _moved(function.body, part, outputs, store)
    return tirx.PrimFunc([*inputs, *outputs], body, function.ret_type, function.attrs)


def _moved(statement: Any, part: Any, outputs: Sequence[Any], store: Callable[[tirx.BufferStore], tirx.Stmt]) -> Any:
    """TVM 0.27 has no statement visitor in Python: this handles the kinds that scheduled functions consist of."""

    def moved(inner: Any) -> Any:
        return None if inner is None else _moved(inner, part, outputs, store)

    s = statement
    if isinstance(s, tirx.BufferStore):
        return store(s) if s.buffer.same_as(part) else s
    if isinstance(s, tirx.SeqStmt):
        return tirx.SeqStmt([moved(inner) for inner in s.seq])
    if isinstance(s, tirx.For):
        return with_body(s, moved(s.body))
    if isinstance(s, tirx.IfThenElse):
        return tirx.IfThenElse(s.condition, moved(s.then_case), moved(s.else_case))
    if isinstance(s, s_tir.SBlockRealize):
        return s_tir.SBlockRealize(s.iter_values, s.predicate, moved(s.block))
    if isinstance(s, s_tir.SBlock) and not s.match_buffers and not any(r.source.same_as(part) for r in s.reads):
        written = [_everywhere(output) for output in outputs]
        writes = [new for w in s.writes for new in (written if w.source.same_as(part) else [w])]
        parts = moved(s.body), moved(s.init), s.alloc_buffers
        return s_tir.SBlock(s.iter_vars, s.reads, writes, s.name_hint, *parts, annotations=s.annotations)
    raise NotRedirected


def _everywhere(buffer: Any) -> tirx.BufferRegion:
    return tirx.BufferRegion(buffer, [ir.Range.from_min_extent(0, dim) for dim in buffer.shape])


def copy(shape: Sequence[int], dtype: str) -> tirx.PrimFunc:
    """Function (source, copy), not scheduled."""
    x = te.placeholder(shape, dtype, "x")
    function = te.create_prim_func([x, te.compute(shape, lambda *at: x[at], name="copy")])
    return function.without_attr("global_symbol")


def zeros(frame: Frame, size: tuple[int, int], dtype: str, target: Target) -> tirx.PrimFunc:
    """Function (whole) that writes the zeros around an image of this size, (height, width)."""
    images, rows, channels = frame.shape[0], frame.shape[1], frame.shape[-1]
    columns = math.prod(frame.shape[2:-1])
    height, width = size
    beside = [w for w in range(columns) if not frame.left <= w < frame.left + width]
    vector = choose_lanes(channels, max(1, target.cpu.vector_bits // (8 * np.dtype(dtype).itemsize)))
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_attr({NO_ALIAS: True, IS_SCHEDULED: True, FUSION_PATTERN: OPAQUE, FLOPS: 0})
        whole = T.match_buffer(T.arg("whole", T.handle()), frame.shape, dtype)

        def write(n: Any, row: Any, column: Any) -> None:
            indices = [column] if frame.phases == 1 else _phase_and_column(column, frame.phases)
            with T.serial(0, channels // vector) as block, T.vectorized(0, vector) as lane:
                T.buffer_store(whole, tirx.const(0, dtype), [n, row, *indices, block * vector + lane])

        with T.sblock("root"), T.serial(0, images) as n:
            if rows > height:
                with T.serial(0, rows - height) as row, T.serial(0, columns) as column:
                    write(n, tirx.Select(row < frame.top, row, row + height), column)
            if beside:
                with T.serial(0, height) as row:
                    for column in beside:
                        write(n, row + frame.top, tirx.const(column, "int32"))
    return builder.get()

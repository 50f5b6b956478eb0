"""Software prefetching of weights.

If all rows of some columns are computed before the next columns, the first tile of rows reads its block of weights from
memory and the others from the cache. The weights of a large model are in no cache at first, so the multiply-adds of
that first tile would wait. Therefore all tiles of rows prefetch weights of the next columns, a few lines at every step
of the reduction. A prefetch never faults, so the last block needs no condition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm import tirx

from neo.engines.tvm.cpu.schedules.prefetch import FOLLOWED_BY
from neo.engines.tvm.cpu.units.prefetch import fetch
from neo.engines.tvm.cpu.units.tiles import LINE_BYTES
from neo.engines.tvm.ir.expressions import with_body

# more prefetches in one step would delay its loads
_MOST_LINES = 4


def fetching(loop: tirx.Stmt) -> tirx.Stmt:
    """Adds prefetches to an annotated loop over tiles, in the innermost loops that read weights. Other statements are
    returned as they are.
    """
    if not isinstance(loop, tirx.For) or FOLLOWED_BY not in loop.annotations:
        return loop
    annotations = dict(loop.annotations)
    name, *sizes = annotations.pop(FOLLOWED_BY)
    weights = _read_in(loop.body, str(name))
    body = loop.body
    if weights is not None:
        body = _Stream(weights, loop.loop_var, *map(int, sizes)).added(loop.body, ())
    return tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, body, loop.thread_binding, annotations)


@dataclass(frozen=True, slots=True)
class _Stream:
    """Packed weights, [columns, matrices, elements], which are read matrix by matrix, and in each block by block."""

    weights: Any
    #: variable of the loop over tiles
    tile: tirx.Var
    #: number of blocks of columns
    columns: int
    matrices: int
    #: in one block
    elements: int
    #: number of tiles of rows that read the same block
    rows: int

    def added(self, body: tirx.Stmt, steps: Sequence[tirx.For]) -> tirx.Stmt:
        """The body with prefetches. steps: the loops around it, inside the one over tiles."""
        if isinstance(body, tirx.SeqStmt):
            return tirx.SeqStmt([self.added(part, steps) for part in body.seq])
        if not isinstance(body, tirx.For) or _read_in(body, self.weights.name) is None:
            return body
        around = [*steps, body]
        inner = body.body if _is_innermost(body.body) else None
        inside = self.added(body.body, around) if inner is None else tirx.SeqStmt([*self._fetches(around), inner])
        return with_body(body, inside)

    def _fetches(self, steps: Sequence[tirx.For]) -> list[tirx.Stmt]:
        """The next block is divided between the tiles of rows (rounded down to a power of two, so that a shift
        divides), and each part between the steps of the reduction.
        """
        dtype = str(self.tile.ty.dtype)
        log = self.rows.bit_length() - 1
        count = math.prod(int(loop.extent) for loop in steps)
        step: Any = tirx.const(0, dtype)
        for loop in steps:
            step = step * int(loop.extent) + tirx.Cast(dtype, loop.loop_var)
        following = self.tile // self.rows + 1
        block = (following % self.columns * self.matrices + following // self.columns) * self.elements
        part = tirx.min(self.tile % self.rows, (1 << log) - 1) * (self.elements >> log)
        begin = block + part + ((step * (self.elements // count)) >> log)
        line = LINE_BYTES // (int(self.weights.dtype.bits) // 8)
        lines = min(_MOST_LINES, max(1, (self.elements // count >> log) // line))
        return [fetch(tirx.address_of(self.weights[begin + index * line])) for index in range(lines)]


def _is_innermost(body: tirx.Stmt) -> bool:
    parts = body.seq if isinstance(body, tirx.SeqStmt) else [body]
    return not any(isinstance(part, tirx.For) for part in parts)


def _read_in(node: Any, name: str) -> Any | None:
    """The buffer of this name, if the statement or expression reads it; else None."""
    if hasattr(node, "source") and hasattr(node, "indices"):
        return node.source if node.source.name == name else None
    parts = [getattr(node, field) for field in ("body", "value", "a", "b") if hasattr(node, field)]
    for part in (*parts, *getattr(node, "seq", ()), *getattr(node, "args", ())):
        found = _read_in(part, name)
        if found is not None:
            return found
    return None

"""Attention that lowering marked for AMX tiles: both products in tiles, and the softmax between them row by row.

The loops are written from scratch instead of transforming those of the function. Scores of a block of rows, and their
exponentials (the powers), are on the stack. Powers are bfloat16, in the layout in which tiles of inputs are loaded.
Keys and values are stored in pairs of rows, so that 16 columns of 16 such rows are loaded as a tile without rearranging
them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import s_tir, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import ScheduleError

from neo.contract.device import Target
from neo.engines.tvm.cpu.lowering.attention import BIASED, BLOCKS, LARGEST, POWERS, SCORES, TOTAL, VALUES
from neo.engines.tvm.cpu.lowering.tiled import mark_of, whole_tiles
from neo.engines.tvm.cpu.schedules.amx_loops import (
    INDEX,
    RowPointer,
    Scalar,
    extent_of,
    fitting,
    loop,
    multiply_step,
    number,
    on_stack,
    replaced,
    spread,
    summed_up,
    vectorised,
    vectors,
)
from neo.engines.tvm.cpu.schedules.attention import STACK_BYTES
from neo.engines.tvm.cpu.schedules.loops import blocks_of
from neo.engines.tvm.cpu.units.amx import PAIR_BYTES, TILE_COLUMNS, TILE_PAIRS, Product
from neo.engines.tvm.cpu.units.bfloat16 import FLOAT, PAIR, STORAGE, widened
from neo.engines.tvm.cpu.units.tiles import FLOAT_BYTES
from neo.engines.tvm.ir.indices import unflatten

HALF_BYTES = 2


def attend_in_tiles(function: tirx.PrimFunc, target: Target) -> tirx.PrimFunc | None:
    """-> the function with its loops. None if it is not marked for tiles, or its epilogue is more than one pass over
    its output.
    """
    try:
        kernel = _read(Schedule(function))
    except ScheduleError:  # an epilogue that cannot be inlined into one pass
        return None
    if kernel is None or kernel.stack_bytes > STACK_BYTES:
        return None
    body = s_tir.SBlockRealize(
        [], tirx.const(1, "bool"), s_tir.SBlock([], [], [], "root", _Writer(kernel).write(target))
    )
    return function.with_body(body)


@dataclass(frozen=True, slots=True)
class _PointwiseBlock:
    """A block without a reduction."""

    #: its variables: leading dimensions, row, column
    at: Sequence[Any]
    store: tirx.BufferStore

    def value(self, at: Sequence[Scalar], loads: dict[Any, Scalar]) -> Scalar:
        return replaced(self.store.value, dict(zip(self.at, at, strict=True)), loads)


@dataclass(frozen=True, slots=True)
class _ProductBlock:
    """A block that adds up products of pairs."""

    #: its spatial variables
    at: Sequence[Any]
    #: its reduction variable
    step: Any
    #: region that one step reads of the left operand
    inputs: Any
    #: region that one step reads of the right operand
    weights: Any

    def corner(self, region: Any, at: Sequence[Scalar]) -> Scalar:
        """Address of the first element of the region that is read for this output."""
        values = {**dict(zip(self.at, at, strict=True)), self.step: number(0)}
        return tirx.address_of(tirx.BufferLoad(region.source, [replaced(b.min, values) for b in region.region]))


@dataclass(frozen=True, slots=True)
class _TiledAttention:
    """The function, taken apart."""

    #: sizes of the first product
    scored: Product
    #: stride of rows of queries
    row_bytes: int
    #: extents of the leading dimensions
    lead: Sequence[int]
    #: columns of the scores
    keys: int
    #: columns of the values
    width: int
    #: name of a block -> the buffer that it writes
    buffers: dict[str, Any]
    scores: _ProductBlock
    biased: _PointwiseBlock
    powers: _PointwiseBlock
    values: _ProductBlock
    last: _PointwiseBlock
    #: for each variable of ``last``: the dimension of the values that it is
    order: Sequence[int]
    #: of the output, without padding
    columns: int

    @property
    def stack_bytes(self) -> int:
        return self.scored.block_rows * self.keys * (FLOAT_BYTES + HALF_BYTES)


def _read(schedule: Schedule) -> _TiledAttention | None:
    *before, last = blocks_of(schedule)
    blocks = {schedule.get(block).name_hint: block for block in before}
    if VALUES not in blocks or mark_of(schedule.get(blocks[SCORES])) is None:
        return None
    steps = {name: blocks.pop(name) for name in BLOCKS}
    for block in blocks.values():
        schedule.compute_inline(block)
    described = {name: schedule.get(block) for name, block in steps.items()}
    buffers = {name: block.writes[0].source for name, block in described.items()}
    mark, scores, values = mark_of(described[SCORES]), _product(described[SCORES]), _product(described[VALUES])
    output = schedule.get(last)
    own = [v.var for v in output.iter_vars]
    (read,) = (read for read in output.reads if read.source.same_as(buffers[VALUES]))
    order = [index for variable in own for index, b in enumerate(read.region) if b.min.same_as(variable)]
    if mark is None or scores is None or values is None or not _is_store(output):
        return None
    if not len(own) == len(order) == len(read.region):  # more than a transposition of the values
        return None
    *lead, rows, keys, depth = (extent_of(v) for v in described[SCORES].iter_vars)
    width = extent_of(described[VALUES].iter_vars[-2])
    return _TiledAttention(
        scored=Product(math.prod(lead), rows, keys, 1, depth),
        row_bytes=mark.row_bytes,
        lead=lead,
        keys=keys,
        width=width,
        buffers=buffers,
        scores=scores,
        biased=_pointwise(described[BIASED]),
        powers=_pointwise(described[POWERS]),
        values=values,
        last=_PointwiseBlock(own, output.body),
        order=order,
        columns=extent_of(output.iter_vars[order.index(len(order) - 1)]),
    )


def _is_store(block: Any) -> bool:
    parallel = all(v.iter_type == tirx.IterVar.DataPar for v in block.iter_vars)
    return parallel and isinstance(block.body, tirx.BufferStore)


def _pointwise(block: Any) -> _PointwiseBlock:
    return _PointwiseBlock([v.var for v in block.iter_vars], block.body)


def _product(block: Any) -> _ProductBlock | None:
    """None unless the block multiplies bfloat16 by pairs of it."""
    *at, step = [v.var for v in block.iter_vars]
    kinds = {str(read.source.dtype): read for read in block.reads}
    if sorted(kinds) != sorted((STORAGE, PAIR)) or len(block.reads) != len(kinds):
        return None
    return _ProductBlock(at, step, kinds[STORAGE], kinds[PAIR])


class _Writer:
    def __init__(self, kernel: _TiledAttention) -> None:
        self._kernel, self._tiles = kernel, kernel.scored
        rows, keys = self._tiles.block_rows, kernel.keys
        self._scores = on_stack(rows * keys, "scores")
        self._powers = on_stack(rows * keys, "powers", STORAGE)
        self._values = on_stack(rows * self._tiles.across * TILE_COLUMNS, "values")
        self._totals = on_stack(rows, "totals")
        self._lanes = [on_stack(TILE_COLUMNS, name) for name in ("largest", "total")]

    def write(self, target: Target) -> tirx.Stmt:
        kernel, block = self._kernel, tirx.Var("block", INDEX)
        *lead, index = unflatten(block, [*kernel.lead, self._tiles.blocks])
        first = fitting(index, self._tiles.block_rows, self._tiles.rows)
        buffers = [self._scores, self._powers, self._values, self._totals, *self._lanes]
        row = tirx.Var("row", INDEX)
        body = tirx.stmt_seq(
            *map(tirx.AllocBuffer, buffers),
            self._score(lead, first),
            loop(row, number(0), number(self._tiles.block_rows), self._softmax(lead, first, row)),
            self._mix(lead, first),
        )
        weighted = Product(self._tiles.groups, self._tiles.rows, kernel.width, 1, kernel.keys // 2)
        cycles = self._tiles.cycles + weighted.cycles
        return spread(self._tiles, (block, self._tiles.groups * self._tiles.blocks), body, target, cycles=cycles)

    def _score(self, lead: Sequence[Scalar], first: Scalar) -> tirx.Stmt:
        """Queries times keys, for a block of rows."""
        kernel, tiles = self._kernel, self._tiles
        queries = kernel.scores.corner(kernel.scores.inputs, [*lead, first, number(0)])

        def some(start: Scalar, columns: int) -> tirx.Stmt:
            wide = columns // TILE_COLUMNS
            keys = kernel.scores.corner(kernel.scores.weights, [*lead, first, start])
            address = tirx.handle_add_byte_offset(tirx.buffer_data(self._scores), start * FLOAT_BYTES)
            reduction = self._reduction(wide, tiles.steps, (queries, kernel.row_bytes), (keys, kernel.keys))
            return summed_up(tiles, wide, reduction, address, kernel.keys)

        return self._over_columns(kernel.keys, some)

    def _mix(self, lead: Sequence[Scalar], first: Scalar) -> tirx.Stmt:
        """Powers times values, and the epilogue."""
        kernel, tiles = self._kernel, self._tiles

        def some(start: Scalar, columns: int) -> tirx.Stmt:
            wide = whole_tiles(columns) // TILE_COLUMNS
            weights = kernel.values.corner(kernel.values.weights, [*lead, first, start])
            powers = tirx.buffer_data(self._powers), kernel.keys * HALF_BYTES
            steps = kernel.keys // (2 * TILE_PAIRS)
            reduction = self._reduction(wide, steps, powers, (weights, kernel.width))
            summed = summed_up(tiles, wide, reduction, tirx.buffer_data(self._values), whole_tiles(columns))
            return tirx.stmt_seq(summed, self._outputs(lead, first, start, columns))

        return self._over_columns(kernel.columns, some)

    def _over_columns(self, columns: int, body: Callable[[Scalar, int], tirx.Stmt]) -> tirx.Stmt:
        """Loop over blocks of columns. body: (first column, number of columns) -> statement."""
        most = self._tiles.across * TILE_COLUMNS
        count, rest = divmod(columns, most)
        index = tirx.Var("column", INDEX)
        parts = [loop(index, number(0), number(count), body(index * most, most))] if count else []
        return tirx.stmt_seq(*parts, *([body(number(count * most), rest)] if rest else []))

    def _reduction(self, wide: int, steps: int, inputs: RowPointer, weights: tuple[Scalar, int]) -> tirx.Stmt:
        """weights: (address of the first row of pairs, pairs in a row)."""
        tiles, step = self._tiles, tirx.Var("step", INDEX)
        (queries, row_bytes), (corner, row_pairs) = inputs, weights

        def input_rows(upper: int) -> RowPointer:
            offset = step * (TILE_PAIRS * PAIR_BYTES) + upper * tiles.heights[0] * row_bytes
            return tirx.handle_add_byte_offset(queries, offset), row_bytes

        def weight_rows(left: int) -> RowPointer:
            offset = (step * (TILE_PAIRS * row_pairs) + left * TILE_COLUMNS) * PAIR_BYTES
            return tirx.handle_add_byte_offset(corner, offset), row_pairs * PAIR_BYTES

        return loop(step, number(0), number(steps), multiply_step(tiles, wide, input_rows, weight_rows))

    def _softmax(self, lead: Sequence[Scalar], first: Scalar, row: Scalar) -> tirx.Stmt:
        """Powers of one row of scores, and their total; the division by it comes with the epilogue."""
        kernel, (largest, total) = self._kernel, self._lanes
        names = kernel.buffers
        begin, vector = row * kernel.keys, tirx.Var("vector", INDEX)

        def over_keys(body: Callable[[Scalar, Scalar], list[tirx.Stmt]]) -> tirx.Stmt:
            lane = tirx.Var("lane", INDEX)
            stores = [vectorised(lane, TILE_COLUMNS, one) for one in body(vector * TILE_COLUMNS + lane, lane)]
            return loop(vector, number(0), number(kernel.keys // TILE_COLUMNS), tirx.stmt_seq(*stores))

        def bias(column: Scalar, lane: Scalar) -> list[tirx.Stmt]:
            score = tirx.BufferLoad(self._scores, [begin + column])
            value = kernel.biased.value([*lead, first + row, column], {names[SCORES]: score})
            return [
                tirx.BufferStore(self._scores, value, [begin + column]),
                tirx.BufferStore(largest, tirx.max(tirx.BufferLoad(largest, [lane]), score), [lane]),
            ]

        def power(column: Scalar, lane: Scalar) -> list[tirx.Stmt]:
            score = tirx.BufferLoad(self._scores, [begin + column])
            highest = tirx.BufferLoad(largest, [number(0)])
            loads = {names[BIASED]: score, names[LARGEST]: highest}
            rounded = kernel.powers.value([*lead, first + row, column], loads)
            counted = widened(tirx.BufferLoad(self._powers, [begin + column]))
            return [
                tirx.BufferStore(self._powers, rounded, [begin + column]),
                tirx.BufferStore(total, tirx.BufferLoad(total, [lane]) + counted, [lane]),
            ]

        return tirx.stmt_seq(
            _filled(largest, -math.inf),
            over_keys(bias),
            *_folded(largest, tirx.max),
            _filled(total, 0.0),
            over_keys(power),
            *_folded(total, lambda a, b: a + b),
            tirx.BufferStore(self._totals, tirx.BufferLoad(total, [number(0)]), [row]),
        )

    def _outputs(self, lead: Sequence[Scalar], first: Scalar, start: Scalar, columns: int) -> tirx.Stmt:
        """The epilogue of the second product, for columns that are not padding."""
        kernel, row = self._kernel, tirx.Var("row", INDEX)
        total, row_floats = tirx.BufferLoad(self._totals, [row]), whole_tiles(columns)
        stores = []
        for begin, lanes in vectors(columns):
            lane = tirx.Var("lane", INDEX)
            at = [*lead, first + row, start + begin + lane]
            own = [at[index] for index in kernel.order]
            value = tirx.BufferLoad(self._values, [row * row_floats + begin + lane])
            loads = {kernel.buffers[VALUES]: value, kernel.buffers[TOTAL]: total}
            variables = dict(zip(kernel.last.at, own, strict=True))
            indices = [replaced(index, variables) for index in kernel.last.store.indices]
            store = tirx.BufferStore(kernel.last.store.buffer, kernel.last.value(own, loads), indices)
            stores.append(vectorised(lane, lanes, store))
        return loop(row, number(0), number(self._tiles.block_rows), tirx.stmt_seq(*stores))


def _filled(buffer: Any, value: float) -> tirx.Stmt:
    lane = tirx.Var("lane", INDEX)
    return vectorised(lane, TILE_COLUMNS, tirx.BufferStore(buffer, tirx.const(value, FLOAT), [lane]))


def _folded(buffer: Any, join: Callable[[Scalar, Scalar], Scalar]) -> Iterator[tirx.Stmt]:
    """Horizontal reduction: joins all lanes in the first one."""
    width = TILE_COLUMNS
    while width > 1:
        width //= 2
        lane = tirx.Var("lane", INDEX)
        both = (tirx.BufferLoad(buffer, [lane + offset]) for offset in (0, width))
        yield vectorised(lane, width, tirx.BufferStore(buffer, join(*both), [lane]))

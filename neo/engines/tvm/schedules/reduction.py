"""Functions with one reduction (convolution in channels-last layout, matmul, pooling, means) and what is fused to it.

The output is cut into tiles of rows x vectors that stay in registers over the whole reduction; the innermost loop
runs over contiguous output channels. Bias, activation and residual are computed on the tile while it is in the cache.
The register blocking follows Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from neo.contract.device import Target
from neo.engines.tvm.schedules.loops import (
    Loops,
    blocks_of,
    extent,
    has_condition,
    is_reduction,
    lanes,
    loops_of,
    pack_columns,
    vectorise_innermost,
)

WIDEST_TILE = 8
# multiply-adds: about the work of one core in the time it takes to wake up another
PARALLEL_WORK = 1 << 17
FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class Tile:
    """rows x vectors x lanes outputs at a time."""

    rows: int
    vectors: int
    lanes: int


def schedule_reduction(schedule: Schedule, target: Target, packable: frozenset[int]) -> dict[int, int] | None:
    """None if the function has not exactly one reduction."""
    blocks = blocks_of(schedule)
    reductions = [index for index, block in enumerate(blocks) if is_reduction(schedule, block)]
    if len(reductions) != 1:
        return None
    index = reductions[0]
    reduction, epilogue = blocks[index], blocks[index + 1 :]
    loops = loops_of(schedule, reduction)
    if loops is None or not loops.spatial or not all(_takes(schedule, block) for block in epilogue):
        return None
    padding = [block for block in blocks[:index] if has_condition(schedule, block)]
    for block in blocks[:index]:
        if block not in padding:
            schedule.compute_inline(block)
    for block in epilogue[:-1]:
        schedule.compute_inline(block)
    last = epilogue[-1] if epilogue else reduction
    tile = _tile_of(schedule, last, target)
    packing = pack_columns(schedule, reduction, tile.vectors * tile.lanes, packable)
    tiles, inner = _loop_over_tiles(schedule, last, tile, _order(schedule, loops, target))
    if last is not reduction:
        schedule.compute_at(reduction, tiles, preserve_unit_loops=True)
    for block in reversed(padding):
        # only what the tile needs, into the cache, instead of a pass over memory
        schedule.compute_at(block, tiles, preserve_unit_loops=True)
        vectorise_innermost(schedule, block, target)
    if last is not reduction:
        _keep_in_registers(schedule, inner)
        own = loops_of(schedule, reduction, skip=1)
        if own is None:
            return None
        loops = own
        inner = [*own.spatial[:-1], *schedule.split(own.spatial[-1], [None, tile.lanes])]
        schedule.reorder(*own.reduction, *inner)
    _keep_in_registers(schedule, inner)
    start = schedule.decompose_reduction(reduction, loops.reduction[0])
    _keep_in_registers(schedule, schedule.get_loops(start)[1:])
    return packing


@dataclass(frozen=True, slots=True)
class Order:
    """spread: tiles go to the threads. columns_first: all rows of some columns before the next columns."""

    spread: bool
    columns_first: bool


def _order(schedule: Schedule, loops: Loops, target: Target) -> Order:
    """Weights that do not stay in the cache from one row of tiles to the next are better read once, all rows at a
    time; otherwise the inputs are.
    """
    steps = math.prod(extent(schedule, loop) for loop in loops.reduction)
    outputs = math.prod(extent(schedule, loop) for loop in loops.spatial)
    weights_bytes = steps * extent(schedule, loops.spatial[-1]) * FLOAT_BYTES
    return Order(steps * outputs >= PARALLEL_WORK, weights_bytes > target.l2_kib * 1024 // 2)


def _takes(schedule: Schedule, block: SBlockRV) -> bool:
    loops = loops_of(schedule, block)
    return loops is not None and bool(loops.spatial) and not loops.reduction


def choose_tile(rows: int, columns: int, lanes_: int, registers: int) -> Tile:
    """rows, columns: extents of the two innermost output dimensions. Every tile divides them exactly.

    One step of the reduction loads ``vectors`` weights and ``rows`` inputs for rows x vectors multiply-adds; the tile
    with the most multiply-adds per load wins. Accumulators and weights have to fit the registers; the inputs are
    broadcast from memory.
    """
    vector = choose_lanes(columns, lanes_)
    tiles = [
        Tile(r, v, vector)
        for v in range(1, WIDEST_TILE + 1)
        for r in range(1, rows + 1)
        if columns % (vector * v) == 0 and rows % r == 0 and v * (r + 1) <= registers
    ]
    return max(tiles, key=lambda tile: tile.rows * tile.vectors / (tile.rows + tile.vectors))


def choose_lanes(columns: int, lanes_: int) -> int:
    """The widest power of two that divides columns; another divisor only where it is more than twice as wide: the
    compiler cuts a vector of 12 into pieces, but for 10 columns that is still better than vectors of 2.
    """
    divisors = [n for n in range(1, min(columns, lanes_) + 1) if columns % n == 0]
    return max(divisors, key=lambda n: n if n & (n - 1) == 0 else n / 2)


def _tile_of(schedule: Schedule, block: SBlockRV, target: Target) -> Tile:
    *others, columns = [extent(schedule, loop) for loop in _spatial(schedule, block)]
    rows = others[-1] if others else 1
    return choose_tile(rows, columns, lanes(schedule, block, target), target.vector_registers)


def _spatial(schedule: Schedule, block: SBlockRV) -> list[LoopRV]:
    loops = loops_of(schedule, block)
    return [] if loops is None else loops.spatial


def _loop_over_tiles(schedule: Schedule, block: SBlockRV, chosen: Tile, order: Order) -> tuple[LoopRV, list[LoopRV]]:
    """Cut the block's output into tiles; -> (the loop over tiles, the loops inside one: rows, vectors, lanes).

    A reduction of the block's own comes between them.
    """
    spatial = _spatial(schedule, block)
    reduction = schedule.get_loops(block)[len(spatial) :]
    *others, columns = spatial
    rows = others.pop() if others else None
    column_tiles, *tile = schedule.split(columns, [None, chosen.vectors, chosen.lanes])
    outer = [column_tiles, *others] if order.columns_first else [*others, column_tiles]
    if rows is not None:
        row_tiles, row = schedule.split(rows, [None, chosen.rows])
        outer.append(row_tiles)
        tile.insert(0, row)
    schedule.reorder(*outer, *reduction, *tile)
    tiles = schedule.fuse(*outer)
    if order.spread:
        schedule.parallel(tiles)
    return tiles, tile


def _keep_in_registers(schedule: Schedule, tile: list[LoopRV]) -> None:
    for loop in tile[:-1]:
        schedule.unroll(loop)
    schedule.vectorize(tile[-1])

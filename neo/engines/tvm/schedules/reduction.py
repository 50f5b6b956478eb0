"""Functions with one reduction (convolution in channels-last layout, matmul, pooling, means) and what is fused to it.

The output is cut into tiles of rows x vectors that stay in registers over the whole reduction; the innermost loop
runs over contiguous output channels. Bias, activation and residual are computed on the tile while it is in the cache.
The register blocking follows Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV
from tvm.tirx import IndexMap

from neo.contract.device import Target
from neo.engines.tvm.schedules.injective import vectorised_pass
from neo.engines.tvm.schedules.loops import (
    Loops,
    batch_rank,
    blocks_of,
    extent,
    has_condition,
    is_reduction,
    lanes,
    loops_of,
    pack_columns,
    vectorise_innermost,
)
from neo.engines.tvm.tiles import Tile, choose_lanes, choose_strip, choose_tile

# multiply-adds: about the work of one core in the time it takes to wake up another
PARALLEL_WORK = 1 << 17
FLOAT_BYTES = 4
UNROLLED_STEPS = 9


def schedule_reduction(schedule: Schedule, target: Target, packable: frozenset[int]) -> dict[int, int] | None:
    """None if the function has not exactly one reduction."""
    nest = _nest_of(schedule)
    if nest is None or (nest.spread is not None and not vectorised_pass(schedule, nest.spread, target)):
        return None
    reduction, loops, padding, last = nest.reduction, nest.loops, nest.padding, nest.last
    tile = _tile_of(schedule, loops, reduction, target)
    packing = pack_columns(schedule, reduction, tile.vectors * tile.lanes, packable)
    order = _order(schedule, reduction, loops, target)
    if len(loops.spatial) == 2 and len(_spatial(schedule, last)) > 2:
        _flatten_rows(schedule, last)
    tiles, inner = _loop_over_tiles(schedule, last, tile, order)
    if last is not reduction:
        schedule.compute_at(reduction, tiles, preserve_unit_loops=True)
        schedule.set_scope(reduction, 0, "local")  # on the stack, where the compiler makes registers of it
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
    _unroll_short(schedule, loops.reduction)
    _keep_in_registers(schedule, schedule.get_loops(start)[1:])
    return packing


@dataclass(frozen=True, slots=True)
class Nest:
    """padding: blocks that the reduction reads from. loops: the reduction's. last: the end of what is computed tile by
    tile with the reduction, maybe itself. spread: a block behind that with more outputs than the reduction has.
    """

    padding: list[SBlockRV]
    reduction: SBlockRV
    loops: Loops
    last: SBlockRV
    spread: SBlockRV | None


def _nest_of(schedule: Schedule) -> Nest | None:
    """What remains after all has been inlined that can be."""
    blocks = blocks_of(schedule)
    reductions = [index for index, block in enumerate(blocks) if is_reduction(schedule, block)]
    if len(reductions) != 1:
        return None
    before, reduction, epilogue = blocks[: reductions[0]], blocks[reductions[0]], blocks[reductions[0] + 1 :]
    loops = loops_of(schedule, reduction)
    if loops is None or not loops.spatial or not all(_takes(schedule, block) for block in epilogue):
        return None
    padding = [block for block in before if has_condition(schedule, block)]
    outputs = _elements(schedule, loops.spatial)
    sizes = [_elements(schedule, _spatial(schedule, block)) for block in epilogue]
    fitting = next((index for index, size in enumerate(sizes) if size > outputs), len(epilogue))
    with_tile, behind = epilogue[:fitting], epilogue[fitting:]
    for block in [*before, *with_tile[:-1], *behind[:-1]]:
        if block not in padding:
            schedule.compute_inline(block)
    return Nest(padding, reduction, loops, [reduction, *with_tile][-1], behind[-1] if behind else None)


def _elements(schedule: Schedule, loops: list[LoopRV]) -> int:
    return math.prod(extent(schedule, loop) for loop in loops)


@dataclass(frozen=True, slots=True)
class Order:
    """spread: tiles go to the threads. columns_first: all rows of some columns before the next columns. batch: so many
    of the outermost dimensions come before that, because both operands change with them.
    """

    spread: bool
    columns_first: bool
    batch: int


def _order(schedule: Schedule, reduction: SBlockRV, loops: Loops, target: Target) -> Order:
    """Weights that do not stay in the cache from one row of tiles to the next are better read once, all rows at a
    time; otherwise the inputs are.
    """
    steps = _elements(schedule, loops.reduction)
    outputs = _elements(schedule, loops.spatial)
    weights_bytes = steps * extent(schedule, loops.spatial[-1]) * FLOAT_BYTES
    columns_first = weights_bytes > target.l2_kib * 1024 // 2
    return Order(steps * outputs >= PARALLEL_WORK, columns_first, batch_rank(schedule, reduction))


def _takes(schedule: Schedule, block: SBlockRV) -> bool:
    loops = loops_of(schedule, block)
    return loops is not None and bool(loops.spatial) and not loops.reduction


def _tile_of(schedule: Schedule, loops: Loops, block: SBlockRV, target: Target) -> Tile:
    *others, columns = [extent(schedule, loop) for loop in loops.spatial]
    rows = others[-1] if others else 1
    choose = choose_tile if _shares_inputs(schedule, block) else choose_strip
    return choose(rows, columns, lanes(schedule, block, target), target.vector_registers)


def _shares_inputs(schedule: Schedule, block: SBlockRV) -> bool:
    """Is there an operand that serves all columns of the output, as the left one of a matrix product does?"""
    columns = [v.var for v in schedule.get(block).iter_vars if v.iter_type == tirx.IterVar.DataPar][-1]
    return not all(_uses(read, columns) for read in schedule.get(block).reads)


def _uses(read: tirx.BufferRegion, variable: tirx.Var) -> bool:
    return any(used.same_as(variable) for bounds in read.region for used in tirx.analysis.undefined_vars(bounds.min))


def _flatten_rows(schedule: Schedule, block: SBlockRV) -> None:
    """Give the block two dimensions, as the product before it has: all rows, and columns."""
    shape = [extent(schedule, loop) for loop in _spatial(schedule, block)]

    def flat(*at: tirx.Var) -> list[Any]:
        row = at[0]
        for index, size in zip(at[1:-1], shape[1:-1], strict=True):
            row = row * size + index
        return [row, at[-1]]

    schedule.transform_block_layout(block, IndexMap.from_func(flat, ndim=len(shape)))


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
    lane_count = choose_lanes(extent(schedule, columns), chosen.lanes)  # a result of fewer columns than were computed
    vectors = chosen.vectors * chosen.lanes // lane_count
    column_tiles, *tile = schedule.split(columns, [None, vectors, lane_count])
    batch, others = others[: order.batch], others[order.batch :]
    outer = [*batch, column_tiles, *others] if order.columns_first else [*batch, *others, column_tiles]
    if rows is not None:
        row_tiles, row = schedule.split(rows, [None, chosen.rows])
        outer.append(row_tiles)
        tile.insert(0, row)
    schedule.reorder(*outer, *reduction, *tile)
    tiles = schedule.fuse(*outer)
    if order.spread:
        schedule.parallel(tiles)
    return tiles, tile


def _unroll_short(schedule: Schedule, steps: list[LoopRV]) -> None:
    """The innermost steps of a reduction, as far as they are few: neighbouring outputs of a depthwise convolution then
    share the inputs that they load, and the three channels of an image need no loop.
    """
    count = 1
    for loop in reversed(steps):
        count *= extent(schedule, loop)
        if count > UNROLLED_STEPS:
            return
        schedule.unroll(loop)


def _keep_in_registers(schedule: Schedule, tile: list[LoopRV]) -> None:
    for loop in tile[:-1]:
        schedule.unroll(loop)
    schedule.vectorize(tile[-1])

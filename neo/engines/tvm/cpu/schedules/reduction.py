"""Functions with one reduction (convolution in channels-last layout, matmul, pooling, means) and its epilogue.

The output is cut into register tiles of rows x vectors, which stay in registers over the whole reduction; the innermost
loop runs over contiguous output channels. The epilogue (bias, activation, residual) is computed tile by tile, while the
tile is in the cache.

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
from neo.engines.tvm.cpu.schedules.choice import columns_first, tiles_of
from neo.engines.tvm.cpu.schedules.injective import vectorised_pass
from neo.engines.tvm.cpu.schedules.loops import (
    Loops,
    batch_rank,
    elements,
    extent,
    keep_in_registers,
    pack_columns,
    vectorise_innermost,
)
from neo.engines.tvm.cpu.schedules.nest import known_loops, nest_of, short_steps, spatial_of
from neo.engines.tvm.cpu.schedules.prefetch import fetch_ahead
from neo.engines.tvm.cpu.units.configuration import Configuration
from neo.engines.tvm.cpu.units.threads import PARALLEL_WORK
from neo.engines.tvm.cpu.units.tiles import FLOAT_BYTES, Tile, choose_lanes

LOCAL = "local"


def schedule_reduction(
    schedule: Schedule, target: Target, packable: frozenset[int], configuration: Configuration | None = None
) -> dict[int, int] | None:
    """None if the function has not exactly one reduction, or the configuration does not fit it.

    configuration: None for the first of ``reduction_configurations``.
    """
    nest = nest_of(schedule)
    if nest is None or (nest.spread is not None and not vectorised_pass(schedule, nest.spread, target)):
        return None
    reduction, loops, padding, last = nest.reduction, nest.loops, nest.padding, nest.last
    possible = tiles_of(schedule, nest, target)
    chosen = configuration or Configuration(possible[0], columns_first(schedule, nest, target))
    if chosen.tile not in possible:
        return None
    tile = chosen.tile
    packing = pack_columns(schedule, reduction, tile.vectors * tile.lanes, packable)
    order = _order(schedule, reduction, loops, columns_first=chosen.columns_first)
    if len(loops.spatial) == 2 and len(spatial_of(schedule, last)) > 2:
        _flatten_rows(schedule, last)
    matrices = elements(schedule, loops.spatial[: order.batch])
    tiles = _compute_by_tiles(schedule, reduction, last, tile, order)
    for block in reversed(padding):
        # pads only what the tile reads, which stays in the cache, instead of the whole image in memory
        schedule.compute_at(block, tiles, preserve_unit_loops=True)
        vectorise_innermost(schedule, block, target)
    if order.columns_first:
        for position in packing:
            fetch_ahead(schedule, tiles, tile, position, matrices)
    return packing


def schedule_products(
    schedule: Schedule, products: SBlockRV, target: Target, packable: frozenset[int], tile: Tile
) -> dict[int, int]:
    """Schedule a batch of matrix products, each with its own weights, inside a loop that contains other blocks too.

    tile: one of ``product_tiles``. -> {parameter: width} of what has to be packed.
    """
    order = LoopOrder(spread=False, columns_first=True, batch=1, inside=1)
    loops = known_loops(schedule, products, order.inside)
    matrices, _, columns = (extent(schedule, loop) for loop in loops.spatial)
    weights = matrices * elements(schedule, loops.reduction) * columns
    packing = pack_columns(schedule, products, tile.vectors * tile.lanes, packable)
    tiles = _compute_by_tiles(schedule, products, products, tile, order)
    if weights * FLOAT_BYTES > target.cpu.l2_kib * 1024 // 2:
        for position in packing:
            fetch_ahead(schedule, tiles, tile, position, matrices)
    return packing


def _compute_by_tiles(schedule: Schedule, reduction: SBlockRV, last: SBlockRV, tile: Tile, order: LoopOrder) -> LoopRV:
    """last: the last block of the epilogue, or the reduction itself if there is none. -> the loop over tiles."""
    width = extent(schedule, known_loops(schedule, reduction, order.inside).spatial[-1])
    if last is reduction:
        last = schedule.cache_write(reduction, 0, LOCAL)
    outer, inner = _loop_over_tiles(schedule, last, tile, order, width)
    schedule.compute_at(reduction, outer[-1], preserve_unit_loops=True)
    tiles = schedule.fuse(*outer)
    if order.spread:
        schedule.parallel(tiles)
    schedule.set_scope(reduction, 0, LOCAL)  # on the stack, from where LLVM promotes it to registers
    keep_in_registers(schedule, inner)
    loops = known_loops(schedule, reduction, order.inside + 1)
    inner = [*loops.spatial[:-1], *schedule.split(loops.spatial[-1], [None, tile.lanes])]
    schedule.reorder(*loops.reduction, *inner)
    keep_in_registers(schedule, inner)
    start = schedule.decompose_reduction(reduction, loops.reduction[0])
    _unroll_short(schedule, loops.reduction)
    keep_in_registers(schedule, schedule.get_loops(start)[order.inside + 1 :])
    return tiles


@dataclass(frozen=True, slots=True)
class LoopOrder:
    """The order of the loops over tiles."""

    #: divide the loop over tiles between threads
    spread: bool
    #: all rows of some columns before the next columns
    columns_first: bool
    #: number of batch dimensions, which index both operands; they are outermost
    batch: int
    #: number of outer loops that contain other blocks too
    inside: int = 0


def _order(schedule: Schedule, reduction: SBlockRV, loops: Loops, *, columns_first: bool) -> LoopOrder:
    work = elements(schedule, loops.reduction) * elements(schedule, loops.spatial)
    return LoopOrder(work >= PARALLEL_WORK, columns_first, batch_rank(schedule, reduction))


def _flatten_rows(schedule: Schedule, block: SBlockRV) -> None:
    """Collapse the leading dimensions of a block of the epilogue, so that it is rows x columns like the product."""
    shape = [extent(schedule, loop) for loop in spatial_of(schedule, block)]

    def flat(*at: tirx.Var) -> list[Any]:
        row = at[0]
        for index, size in zip(at[1:-1], shape[1:-1], strict=True):
            row = row * size + index
        return [row, at[-1]]

    schedule.transform_block_layout(block, IndexMap.from_func(flat, ndim=len(shape)))


def _loop_over_tiles(
    schedule: Schedule, block: SBlockRV, chosen: Tile, order: LoopOrder, width: int
) -> tuple[list[LoopRV], list[LoopRV]]:
    """Cut the block's output into tiles; -> (loops over tiles, loops inside a tile: rows, vectors, lanes).

    If the block is a reduction, its reduction loops are between them. width: columns of the reduction. The block may
    put several groups of that width side by side. If a group has several tiles, groups get a loop of their own:
    compute_at cannot bound the region that a tile reads if one loop runs over both.
    """
    spatial = spatial_of(schedule, block, order.inside)
    reduction = schedule.get_loops(block)[order.inside + len(spatial) :]
    *others, columns = spatial
    rows = others.pop() if others else None
    groups: list[LoopRV] = []
    if extent(schedule, columns) > width > chosen.vectors * chosen.lanes:
        *groups, columns = schedule.split(columns, [None, width])
    # the result may be cropped to fewer columns; its tiles still have to be as wide as those of the reduction
    lane_count = choose_lanes(math.gcd(extent(schedule, columns), chosen.lanes), chosen.lanes)
    vectors = chosen.vectors * chosen.lanes // lane_count
    column_tiles, *tile = schedule.split(columns, [None, vectors, lane_count])
    batch, others = others[: order.batch], others[order.batch :]
    outer = [*batch, column_tiles, *others] if order.columns_first else [*batch, *others, column_tiles]
    if rows is not None:
        row_tiles, row = schedule.split(rows, [None, chosen.rows])
        outer.append(row_tiles)
        tile.insert(0, row)
    schedule.reorder(*groups, *outer, *reduction, *tile)
    return [*groups, schedule.fuse(*outer)], tile


def _unroll_short(schedule: Schedule, steps: list[LoopRV]) -> None:
    """Unroll the innermost steps if they are few. Neighbouring outputs of a depthwise convolution then share the inputs
    that they load, and three channels of an image need no loop.
    """
    for loop in short_steps(schedule, steps):
        schedule.unroll(loop)

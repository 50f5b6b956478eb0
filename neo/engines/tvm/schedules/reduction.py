"""Functions with one reduction (convolution in channels-last layout, matmul, pooling, means) and what is fused to it.

The output is cut into tiles of rows x vectors that stay in registers over the whole reduction; the innermost loop
runs over contiguous output channels. Bias, activation and residual are computed on the tile while it is in the cache.
The register blocking follows Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008.
"""

from __future__ import annotations

import itertools
import math
import operator
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV, ScheduleError
from tvm.tirx import IndexMap

from neo.contract.device import Target
from neo.engines.tvm.bfloat16 import multiplies_pairs
from neo.engines.tvm.patterns import STRIDE
from neo.engines.tvm.prefetch import fetch_ahead
from neo.engines.tvm.schedules.injective import vectorised_pass
from neo.engines.tvm.schedules.loops import (
    Loops,
    batch_rank,
    blocks_of,
    elements,
    extent,
    has_condition,
    is_reduction,
    keep_in_registers,
    lanes,
    loops_of,
    pack_columns,
    row_pitch,
    shares_columns,
    vectorise_innermost,
)
from neo.engines.tvm.tiles import LINE_BYTES, STEPS_UNROLLED, Tile, choose_lanes, list_strips, list_tiles
from neo.engines.tvm.tuning.configuration import Configuration

# multiply-adds: about the work of one core in the time it takes to wake up another
PARALLEL_WORK = 1 << 17
FLOAT_BYTES = 4
LOCAL = "local"
# time of a multiply-add, in units of the shortest possible, to fetch a byte of weights that did not stay in the
# first-level cache since the last tile
FETCHED_BYTE = 1 / 128
# likewise to fetch an input again that other rows have displaced from there: a cache has few places for lines that are
# a multiple of this apart. Not all of them are for inputs
FETCHED_INPUT, WAY_BYTES, FOR_INPUTS = 0.4, 4096, 0.75
# independent multiply-adds that keep the units busy with pairs of bfloat16, which take longer than those of float32: 12
# were seen to be too few
BUSY_WITH_PAIRS = 13
# steps of a sum, unrolled, whose weights are more than a few registers
MANY_UNROLLED = 6
# inputs that stay in the second-level cache: so many times as large it is
FITTING_INPUTS = 4
# the fastest kernel was among the eight cheapest wherever all were measured (ResNet-50, MobileNetV2)
TILES_TRIED = 8
# the order of loops matters less than the tile: it is turned for the cheapest only
TILES_TURNED = 4


def schedule_reduction(
    schedule: Schedule, target: Target, packable: frozenset[int], configuration: Configuration | None = None
) -> dict[int, int] | None:
    """None if the function has not exactly one reduction, or the configuration does not fit it.

    configuration: None for the first of ``reduction_configurations``.
    """
    nest = _nest_of(schedule)
    if nest is None or (nest.spread is not None and not vectorised_pass(schedule, nest.spread, target)):
        return None
    reduction, loops, padding, last = nest.reduction, nest.loops, nest.padding, nest.last
    possible = _tiles(schedule, nest, target)
    chosen = configuration or Configuration(possible[0], _columns_first(schedule, nest, target))
    if chosen.tile not in possible:
        return None
    tile = chosen.tile
    packing = pack_columns(schedule, reduction, tile.vectors * tile.lanes, packable)
    order = _order(schedule, reduction, loops, columns_first=chosen.columns_first)
    if len(loops.spatial) == 2 and len(_spatial(schedule, last)) > 2:
        _flatten_rows(schedule, last)
    matrices = elements(schedule, loops.spatial[: order.batch])
    tiles = _compute_by_tiles(schedule, reduction, last, tile, order)
    for block in reversed(padding):
        # only what the tile needs, into the cache, instead of a pass over memory
        schedule.compute_at(block, tiles, preserve_unit_loops=True)
        vectorise_innermost(schedule, block, target)
    if order.columns_first:
        for position in packing:
            fetch_ahead(schedule, tiles, tile, position, matrices)
    return packing


def schedule_products(
    schedule: Schedule, products: SBlockRV, target: Target, packable: frozenset[int], tile: Tile
) -> dict[int, int]:
    """A batch of matrix products, each with weights of its own, within a loop that other steps belong to as well. tile:
    one of ``product_tiles``. -> what it wants packed how wide.
    """
    order = Order(spread=False, columns_first=True, batch=1, inside=1)
    loops = _loops(schedule, products, order.inside)
    matrices, _, columns = (extent(schedule, loop) for loop in loops.spatial)
    weights = matrices * elements(schedule, loops.reduction) * columns
    packing = pack_columns(schedule, products, tile.vectors * tile.lanes, packable)
    tiles = _compute_by_tiles(schedule, products, products, tile, order)
    if weights * FLOAT_BYTES > target.l2_kib * 1024 // 2:
        for position in packing:
            fetch_ahead(schedule, tiles, tile, position, matrices)
    return packing


def product_tiles(schedule: Schedule, products: SBlockRV, target: Target, rows: int) -> list[Tile]:
    """All that are possible for products of so many rows at a time, the most promising first."""
    loops = _loops(schedule, products, 0)
    columns = extent(schedule, loops.spatial[-1])
    tiles = list_tiles(rows, columns, lanes(schedule, products, target), target.operand_registers)
    return _cheapest_first(tiles, elements(schedule, loops.reduction), target)


def _compute_by_tiles(schedule: Schedule, reduction: SBlockRV, last: SBlockRV, tile: Tile, order: Order) -> LoopRV:
    """last: the end of what is computed tile by tile with the reduction, maybe itself. -> the loop over tiles"""
    if last is reduction:
        last = schedule.cache_write(reduction, 0, LOCAL)
    tiles, inner = _loop_over_tiles(schedule, last, tile, order)
    schedule.compute_at(reduction, tiles, preserve_unit_loops=True)
    schedule.set_scope(reduction, 0, LOCAL)  # on the stack, where the compiler makes registers of it
    keep_in_registers(schedule, inner)
    loops = _loops(schedule, reduction, order.inside + 1)
    inner = [*loops.spatial[:-1], *schedule.split(loops.spatial[-1], [None, tile.lanes])]
    schedule.reorder(*loops.reduction, *inner)
    keep_in_registers(schedule, inner)
    start = schedule.decompose_reduction(reduction, loops.reduction[0])
    _unroll_short(schedule, loops.reduction)
    keep_in_registers(schedule, schedule.get_loops(start)[order.inside + 1 :])
    return tiles


def reduction_configurations(schedule: Schedule, target: Target) -> tuple[Configuration, ...]:
    """Those worth measuring for a function that ``schedule_reduction`` takes; first the one it takes by itself."""
    nest = _nest_of(schedule)
    if nest is None:
        return ()
    analytic = _columns_first(schedule, nest, target)
    tiles = _tiles(schedule, nest, target)[:TILES_TRIED]
    as_chosen = [Configuration(tile, analytic) for tile in tiles]
    return (*as_chosen, *(Configuration(tile, not analytic) for tile in tiles[:TILES_TURNED]))


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
    outputs = elements(schedule, loops.spatial)
    sizes = [elements(schedule, _spatial(schedule, block)) for block in epilogue]
    fitting = next((index for index, size in enumerate(sizes) if size > outputs), len(epilogue))
    with_tile, behind = epilogue[:fitting], epilogue[fitting:]
    for block in [*before, *with_tile[:-1], *behind[:-1]]:
        if block not in padding:
            schedule.compute_inline(block)
    return Nest(padding, reduction, loops, [reduction, *with_tile][-1], behind[-1] if behind else None)


@dataclass(frozen=True, slots=True)
class Order:
    """spread: tiles go to the threads. columns_first: all rows of some columns before the next columns. batch: so many
    of the outermost dimensions come before that, because both operands change with them. inside: so many loops around
    all of them, which other blocks belong to as well.
    """

    spread: bool
    columns_first: bool
    batch: int
    inside: int = 0


def _order(schedule: Schedule, reduction: SBlockRV, loops: Loops, *, columns_first: bool) -> Order:
    work = elements(schedule, loops.reduction) * elements(schedule, loops.spatial)
    return Order(work >= PARALLEL_WORK, columns_first, batch_rank(schedule, reduction))


def _columns_first(schedule: Schedule, nest: Nest, target: Target) -> bool:
    """Weights that do not stay in the cache from one row of tiles to the next are better read once, all rows at a
    time; otherwise the inputs are, unless these stay in the cache anyway: weights may have to come from memory. The
    weights of a depthwise convolution stay in the registers over all rows, which was seen to be up to 1.5 times as fast
    where a tile has whole lines of the cache; where it has parts of lines, the next columns want the same ones.
    """
    if _is_depthwise(schedule, nest.reduction):
        tile = _tiles(schedule, nest, target)[0]
        return tile.vectors * tile.lanes * FLOAT_BYTES >= LINE_BYTES
    *rows, columns = nest.loops.spatial
    rows = rows[batch_rank(schedule, nest.reduction) :]
    cache, step_bytes = target.l2_kib * 1024, elements(schedule, nest.loops.reduction) * FLOAT_BYTES
    if not nest.padding and elements(schedule, rows) * step_bytes <= cache // FITTING_INPUTS:
        return True
    return extent(schedule, columns) * step_bytes > cache // 2


def _is_depthwise(schedule: Schedule, reduction: SBlockRV) -> bool:
    return not shares_columns(schedule, reduction) and len(schedule.get(reduction).reads) > 1


def _takes(schedule: Schedule, block: SBlockRV) -> bool:
    loops = loops_of(schedule, block)
    return loops is not None and bool(loops.spatial) and not loops.reduction


def _tiles(schedule: Schedule, nest: Nest, target: Target) -> list[Tile]:
    """All that are possible, the most promising first."""
    *others, columns = [extent(schedule, loop) for loop in nest.loops.spatial]
    width = lanes(schedule, nest.reduction, target)
    shape = others[-1] if others else 1, columns, width, target.operand_registers
    if _is_depthwise(schedule, nest.reduction):
        return list_strips(*shape, int(schedule.get(nest.reduction).annotations.get(STRIDE, 1)))
    if not shares_columns(schedule, nest.reduction):
        # poolings, which do little with a line of the cache: it is read at once
        return sorted(list_tiles(*shape), key=lambda tile: tile.vectors * tile.lanes * FLOAT_BYTES < LINE_BYTES)
    busy = BUSY_WITH_PAIRS if multiplies_pairs(schedule.get(nest.reduction)) else 0
    steps, pitch = elements(schedule, nest.loops.reduction), row_pitch(schedule, nest.reduction)
    tiles = _cheapest_first(list_tiles(*shape), steps, target, busy, pitch)
    if math.prod(extent(schedule, loop) for loop in _short(schedule, nest.loops.reduction)) < MANY_UNROLLED:
        return tiles
    return sorted(tiles, key=lambda tile: not _leaves_room(tile, target.operand_registers))


def _leaves_room(tile: Tile, registers: int) -> bool:
    """For the weights of steps that are unrolled: the compiler loads them all at once."""
    return tile.rows <= registers // 4 and tile.rows * tile.vectors <= registers // 2


def _cheapest_first(tiles: list[Tile], steps: int, target: Target, busy: int = 0, pitch: int = 0) -> list[Tile]:
    """steps: of the reduction. busy: so many multiply-adds have to be on their way, if that is known. pitch: bytes from
    the inputs of a row to those of the next, if that is known.
    """
    cache = target.l1d_kib * 1024
    # lines that far apart, of which the cache keeps no more
    most_rows = cache // math.gcd(pitch, WAY_BYTES) if pitch else math.inf

    def cost(tile: Tile) -> float:
        waiting = max(1.0, busy / (tile.rows * tile.vectors))
        vector = tile.lanes * FLOAT_BYTES
        weights = FETCHED_BYTE * vector / tile.rows if steps * tile.vectors * vector > cache else 0.0
        inputs = FETCHED_INPUT / tile.vectors if tile.rows > FOR_INPUTS * most_rows else 0.0
        return tile.cost * waiting + weights + inputs

    return sorted(tiles, key=cost)


def _flatten_rows(schedule: Schedule, block: SBlockRV) -> None:
    """Give the block two dimensions, as the product before it has: all rows, and columns."""
    shape = [extent(schedule, loop) for loop in _spatial(schedule, block)]

    def flat(*at: tirx.Var) -> list[Any]:
        row = at[0]
        for index, size in zip(at[1:-1], shape[1:-1], strict=True):
            row = row * size + index
        return [row, at[-1]]

    schedule.transform_block_layout(block, IndexMap.from_func(flat, ndim=len(shape)))


def _spatial(schedule: Schedule, block: SBlockRV, inside: int = 0) -> list[LoopRV]:
    loops = loops_of(schedule, block, inside)
    return [] if loops is None else loops.spatial


def _loops(schedule: Schedule, block: SBlockRV, inside: int) -> Loops:
    loops = loops_of(schedule, block, inside)
    if loops is None:
        raise ScheduleError("a reduction with other loops than expected")
    return loops


def _loop_over_tiles(schedule: Schedule, block: SBlockRV, chosen: Tile, order: Order) -> tuple[LoopRV, list[LoopRV]]:
    """Cut the block's output into tiles; -> (the loop over tiles, the loops inside one: rows, vectors, lanes).

    A reduction of the block's own comes between them.
    """
    spatial = _spatial(schedule, block, order.inside)
    reduction = schedule.get_loops(block)[order.inside + len(spatial) :]
    *others, columns = spatial
    rows = others.pop() if others else None
    # a result of fewer columns than were computed; its tiles have to be as wide as those of the reduction
    lane_count = choose_lanes(math.gcd(extent(schedule, columns), chosen.lanes), chosen.lanes)
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
    """Neighbouring outputs of a depthwise convolution then share the inputs that they load, and the three channels of
    an image need no loop.
    """
    for loop in _short(schedule, steps):
        schedule.unroll(loop)


def _short(schedule: Schedule, steps: list[LoopRV]) -> list[LoopRV]:
    """The innermost steps of a reduction, as far as they are few."""
    counts = itertools.accumulate((extent(schedule, loop) for loop in reversed(steps)), operator.mul)
    few = sum(count <= STEPS_UNROLLED for count in counts)
    return steps[len(steps) - few :]

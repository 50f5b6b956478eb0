"""The cost model that chooses register tiles and loop order of a reduction.

It needs no measurements, only the target's registers and caches. ``tuning`` measures the configurations that it ranks
highest.
"""

from __future__ import annotations

import math

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import SBlockRV

from neo.contract.device import Target
from neo.engines.tvm.cpu.schedules.loops import batch_rank, elements, extent, lanes, row_pitch, shares_columns
from neo.engines.tvm.cpu.schedules.nest import Nest, known_loops, nest_of, short_steps
from neo.engines.tvm.cpu.units.bfloat16 import multiplies_pairs
from neo.engines.tvm.cpu.units.configuration import Configuration
from neo.engines.tvm.cpu.units.tiles import FLOAT_BYTES, LINE_BYTES, Tile, list_strips, list_tiles
from neo.engines.tvm.ir.patterns import STRIDE

# costs are relative to the shortest possible time of a multiply-add. FETCHED_BYTE: of a byte of weights that has to be
# read from L2 again for each tile
FETCHED_BYTE = 1 / 128
# FETCHED_INPUT: of an input that was evicted from L1 by other rows, because of cache associativity: lines whose
# addresses differ by a multiple of WAY_BYTES compete for the same set. FOR_INPUTS: share of a set's ways that inputs
# can use
FETCHED_INPUT, WAY_BYTES, FOR_INPUTS = 0.4, 4096, 0.75
# independent multiply-adds of pairs of bfloat16 that hide their latency, which is longer than that of float32: 12 were
# measured to be too few
BUSY_WITH_PAIRS = 13
# from so many unrolled steps of a reduction on, their weights need many registers
MANY_UNROLLED = 6
# inputs count as staying in L2 if they are no larger than L2 divided by this
FITTING_INPUTS = 4
# the fastest kernel was among the eight cheapest wherever all were measured (ResNet-50, MobileNetV2)
TILES_TRIED = 8
# loop order matters less than the tile: the opposite order is tried for the cheapest tiles only
TILES_TURNED = 4


def reduction_configurations(schedule: Schedule, target: Target) -> tuple[Configuration, ...]:
    """Configurations worth measuring for a function that ``schedule_reduction`` takes, the default first."""
    nest = nest_of(schedule)
    if nest is None:
        return ()
    analytic = columns_first(schedule, nest, target)
    tiles = tiles_of(schedule, nest, target)[:TILES_TRIED]
    as_chosen = [Configuration(tile, analytic) for tile in tiles]
    return (*as_chosen, *(Configuration(tile, not analytic) for tile in tiles[:TILES_TURNED]))


def columns_first(schedule: Schedule, nest: Nest, target: Target) -> bool:
    """Compute all rows of some columns before the next columns?

    Yes if the weights do not stay in L2 from one row of tiles to the next: they are then read only once. Also if the
    inputs stay in L2 in any case, because weights may have to come from memory. Else no, so that inputs are read only
    once.

    Depthwise: yes, because weights then stay in registers over all rows, which was measured to be up to 1.5 times as
    fast. But not if a tile covers only a part of a cache line, because the next columns need the same lines.
    """
    if _is_depthwise(schedule, nest.reduction):
        tile = tiles_of(schedule, nest, target)[0]
        return tile.vectors * tile.lanes * FLOAT_BYTES >= LINE_BYTES
    *rows, columns = nest.loops.spatial
    rows = rows[batch_rank(schedule, nest.reduction) :]
    cache, step_bytes = target.cpu.l2_kib * 1024, elements(schedule, nest.loops.reduction) * FLOAT_BYTES
    if not nest.padding and elements(schedule, rows) * step_bytes <= cache // FITTING_INPUTS:
        return True
    return extent(schedule, columns) * step_bytes > cache // 2


def _is_depthwise(schedule: Schedule, reduction: SBlockRV) -> bool:
    return not shares_columns(schedule, reduction) and len(schedule.get(reduction).reads) > 1


def product_tiles(schedule: Schedule, products: SBlockRV, target: Target, rows: int) -> list[Tile]:
    """All possible tiles for matrix products with this many rows, the most promising first."""
    loops = known_loops(schedule, products, 0)
    columns = extent(schedule, loops.spatial[-1])
    tiles = list_tiles(rows, columns, lanes(schedule, products, target), target.cpu.operand_registers)
    return _cheapest_first(tiles, elements(schedule, loops.reduction), target)


def tiles_of(schedule: Schedule, nest: Nest, target: Target) -> list[Tile]:
    """All possible tiles, the most promising first."""
    *others, columns = [extent(schedule, loop) for loop in nest.loops.spatial]
    width = lanes(schedule, nest.reduction, target)
    shape = others[-1] if others else 1, columns, width, target.cpu.operand_registers
    if _is_depthwise(schedule, nest.reduction):
        return list_strips(*shape, int(schedule.get(nest.reduction).annotations.get(STRIDE, 1)))
    if not shares_columns(schedule, nest.reduction):
        # poolings compute little from each cache line, so tiles with whole lines are best
        return sorted(list_tiles(*shape), key=lambda tile: tile.vectors * tile.lanes * FLOAT_BYTES < LINE_BYTES)
    busy = BUSY_WITH_PAIRS if multiplies_pairs(schedule.get(nest.reduction)) else 0
    steps, pitch = elements(schedule, nest.loops.reduction), row_pitch(schedule, nest.reduction)
    tiles = _cheapest_first(list_tiles(*shape), steps, target, busy, pitch)
    if math.prod(extent(schedule, loop) for loop in short_steps(schedule, nest.loops.reduction)) < MANY_UNROLLED:
        return tiles
    return sorted(tiles, key=lambda tile: not _leaves_room(tile, target.cpu.operand_registers))


def _leaves_room(tile: Tile, registers: int) -> bool:
    """Are enough registers left for the weights of unrolled steps? LLVM loads all of them at once."""
    return tile.rows <= registers // 4 and tile.rows * tile.vectors <= registers // 2


def _cheapest_first(tiles: list[Tile], steps: int, target: Target, busy: int = 0, pitch: int = 0) -> list[Tile]:
    """steps: of the reduction. busy: independent multiply-adds that hide the latency; 0: as ``Tile.cost`` assumes.
    pitch: stride of the rows of inputs in bytes; 0: not known.
    """
    cache = target.cpu.l1d_kib * 1024
    # rows of inputs that L1 can hold at the same time, given how many of them compete for one set
    most_rows = cache // math.gcd(pitch, WAY_BYTES) if pitch else math.inf

    def cost(tile: Tile) -> float:
        waiting = max(1.0, busy / (tile.rows * tile.vectors))
        vector = tile.lanes * FLOAT_BYTES
        weights = FETCHED_BYTE * vector / tile.rows if steps * tile.vectors * vector > cache else 0.0
        inputs = FETCHED_INPUT / tile.vectors if tile.rows > FOR_INPUTS * most_rows else 0.0
        return tile.cost * waiting + weights + inputs

    return sorted(tiles, key=cost)

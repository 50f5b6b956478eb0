"""Which tiles a reduction is cut into, and in which order: the model of what time they take.

It needs no measurement, only what the target says of its registers and caches. ``tuning`` measures what is first here.
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


def reduction_configurations(schedule: Schedule, target: Target) -> tuple[Configuration, ...]:
    """Those worth measuring for a function that ``schedule_reduction`` takes; first the one it takes by itself."""
    nest = nest_of(schedule)
    if nest is None:
        return ()
    analytic = columns_first(schedule, nest, target)
    tiles = tiles_of(schedule, nest, target)[:TILES_TRIED]
    as_chosen = [Configuration(tile, analytic) for tile in tiles]
    return (*as_chosen, *(Configuration(tile, not analytic) for tile in tiles[:TILES_TURNED]))


def columns_first(schedule: Schedule, nest: Nest, target: Target) -> bool:
    """Weights that do not stay in the cache from one row of tiles to the next are better read once, all rows at a
    time; otherwise the inputs are, unless these stay in the cache anyway: weights may have to come from memory. The
    weights of a depthwise convolution stay in the registers over all rows, which was seen to be up to 1.5 times as fast
    where a tile has whole lines of the cache; where it has parts of lines, the next columns want the same ones.
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
    """All that are possible for products of so many rows at a time, the most promising first."""
    loops = known_loops(schedule, products, 0)
    columns = extent(schedule, loops.spatial[-1])
    tiles = list_tiles(rows, columns, lanes(schedule, products, target), target.cpu.operand_registers)
    return _cheapest_first(tiles, elements(schedule, loops.reduction), target)


def tiles_of(schedule: Schedule, nest: Nest, target: Target) -> list[Tile]:
    """All that are possible, the most promising first."""
    *others, columns = [extent(schedule, loop) for loop in nest.loops.spatial]
    width = lanes(schedule, nest.reduction, target)
    shape = others[-1] if others else 1, columns, width, target.cpu.operand_registers
    if _is_depthwise(schedule, nest.reduction):
        return list_strips(*shape, int(schedule.get(nest.reduction).annotations.get(STRIDE, 1)))
    if not shares_columns(schedule, nest.reduction):
        # poolings, which do little with a line of the cache: it is read at once
        return sorted(list_tiles(*shape), key=lambda tile: tile.vectors * tile.lanes * FLOAT_BYTES < LINE_BYTES)
    busy = BUSY_WITH_PAIRS if multiplies_pairs(schedule.get(nest.reduction)) else 0
    steps, pitch = elements(schedule, nest.loops.reduction), row_pitch(schedule, nest.reduction)
    tiles = _cheapest_first(list_tiles(*shape), steps, target, busy, pitch)
    if math.prod(extent(schedule, loop) for loop in short_steps(schedule, nest.loops.reduction)) < MANY_UNROLLED:
        return tiles
    return sorted(tiles, key=lambda tile: not _leaves_room(tile, target.cpu.operand_registers))


def _leaves_room(tile: Tile, registers: int) -> bool:
    """For the weights of steps that are unrolled: the compiler loads them all at once."""
    return tile.rows <= registers // 4 and tile.rows * tile.vectors <= registers // 2


def _cheapest_first(tiles: list[Tile], steps: int, target: Target, busy: int = 0, pitch: int = 0) -> list[Tile]:
    """steps: of the reduction. busy: so many multiply-adds have to be on their way, if that is known. pitch: bytes from
    the inputs of a row to those of the next, if that is known.
    """
    cache = target.cpu.l1d_kib * 1024
    # lines that far apart, of which the cache keeps no more
    most_rows = cache // math.gcd(pitch, WAY_BYTES) if pitch else math.inf

    def cost(tile: Tile) -> float:
        waiting = max(1.0, busy / (tile.rows * tile.vectors))
        vector = tile.lanes * FLOAT_BYTES
        weights = FETCHED_BYTE * vector / tile.rows if steps * tile.vectors * vector > cache else 0.0
        inputs = FETCHED_INPUT / tile.vectors if tile.rows > FOR_INPUTS * most_rows else 0.0
        return tile.cost * waiting + weights + inputs

    return sorted(tiles, key=cost)

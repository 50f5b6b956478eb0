"""Winograd convolutions: the transforms before and after the products, one tile and one vector of channels at a time;
or all three steps, block by block.

Everything inside a tile is unrolled, so that terms with zeros of the constant matrices vanish.
"""

from __future__ import annotations

import math

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from neo.contract.device import Target
from neo.engines.tvm.cpu.lowering.winograd import BLOCK
from neo.engines.tvm.cpu.schedules.choice import TILES_TRIED, product_tiles
from neo.engines.tvm.cpu.schedules.loops import blocks_of, extent, vector_width
from neo.engines.tvm.cpu.schedules.reduction import schedule_products
from neo.engines.tvm.cpu.units.configuration import Configuration
from neo.engines.tvm.cpu.units.threads import PARALLEL_ELEMENTS
from neo.engines.tvm.cpu.units.tiles import Tile

PIXELS, INPUT_HALF, INPUT = "winograd_pixels", "winograd_input_half", "winograd_input"
PRODUCTS = "winograd_products"
OUTPUT_HALF, OUTPUT = "winograd_output_half", "winograd_output"
# in floats. PITCH is a multiple of the addresses that share a cache set; points that are stored PITCH and a LINE apart
# fall into different sets
PITCH, LINE = 1024, 16


def schedule_winograd(
    schedule: Schedule, target: Target, packable: frozenset[int], configuration: Configuration | None = None
) -> dict[int, int] | None:
    """None if the function has no transform, or the configuration does not fit it.

    configuration: None for the first of ``winograd_configurations``, if there are any.
    """
    names = _names(schedule)
    if PIXELS in names and OUTPUT in names:
        tiles = _tiles(schedule, names, target)
        tile = tiles[0] if configuration is None else configuration.tile
        is_possible = tile in tiles and (configuration is None or configuration.columns_first)
        return _schedule_blocks(schedule, names, target, packable, tile) if is_possible else None
    if configuration is not None:
        return None
    if PIXELS in names:
        _spread(schedule, _schedule_input(schedule, names, target))
    elif OUTPUT in names:
        _spread(schedule, _schedule_output(schedule, names, target))
    else:
        return None
    return {}


def winograd_configurations(schedule: Schedule, target: Target) -> tuple[Configuration, ...]:
    """Configurations worth measuring for a function that ``schedule_winograd`` takes, the default first. There are none
    for a transform alone.
    """
    names = _names(schedule)
    if PIXELS not in names or OUTPUT not in names:
        return ()
    return tuple(Configuration(tile, columns_first=True) for tile in _tiles(schedule, names, target)[:TILES_TRIED])


def _names(schedule: Schedule) -> dict[str, SBlockRV]:
    return {schedule.get(block).name_hint: block for block in blocks_of(schedule)}


def _block_size(schedule: Schedule, names: dict[str, SBlockRV]) -> int:
    return int(schedule.get(names[PRODUCTS]).annotations[BLOCK])


def _tiles(schedule: Schedule, names: dict[str, SBlockRV], target: Target) -> list[Tile]:
    return product_tiles(schedule, names[PRODUCTS], target, _block_size(schedule, names))


def _schedule_blocks(
    schedule: Schedule, names: dict[str, SBlockRV], target: Target, packable: frozenset[int], tile: Tile
) -> dict[int, int]:
    """All three steps. Points are padded apart in memory, so that those of one tile do not evict each other from L1."""
    size = _block_size(schedule, names)
    blocks, _ = schedule.split(_schedule_output(schedule, names, target), [None, size])
    _spread(schedule, blocks)
    for step in (names[PRODUCTS], names[INPUT]):
        schedule.compute_at(step, blocks, preserve_unit_loops=True)
        schedule.storage_align(step, 0, 0, PITCH, LINE)
    _schedule_input(schedule, names, target, inside=1)
    return schedule_products(schedule, names[PRODUCTS], target, packable, tile)


def _schedule_input(schedule: Schedule, names: dict[str, SBlockRV], target: Target, inside: int = 0) -> LoopRV:
    """inside: number of loops around the step. -> the loop over tiles."""
    points, tiles, channels = schedule.get_loops(names[INPUT])[inside:]
    vectors, lane = _vectors(schedule, names[INPUT], channels, target)
    schedule.reorder(tiles, vectors, points, lane)
    for block in (names[INPUT_HALF], names[PIXELS]):
        schedule.compute_at(block, vectors, preserve_unit_loops=True)
    for block in (names[INPUT], names[INPUT_HALF], names[PIXELS]):
        _unroll(schedule, schedule.get_loops(block)[inside + 2 :])
    return tiles


def _schedule_output(schedule: Schedule, names: dict[str, SBlockRV], target: Target) -> LoopRV:
    """-> the loop over tiles."""
    *inlined, last = blocks_of(schedule)[list(names).index(OUTPUT) :]
    for block in inlined:
        schedule.compute_inline(block)
    half = names[OUTPUT_HALF]
    side = extent(schedule, schedule.get_loops(half)[1])
    *images, rows, columns, channels = schedule.get_loops(last)  # volumes have several image dimensions
    row_tiles, row = schedule.split(rows, [None, side])
    column_tiles, column = schedule.split(columns, [None, side])
    vectors, lane = _vectors(schedule, last, channels, target)
    schedule.reorder(*images, row_tiles, column_tiles, vectors, row, column, lane)
    tiles = schedule.fuse(*images, row_tiles, column_tiles)
    schedule.compute_at(half, vectors, preserve_unit_loops=True)
    for block in (last, half):
        _unroll(schedule, schedule.get_loops(block)[2:])
    return tiles


def _vectors(schedule: Schedule, block: SBlockRV, channels: LoopRV, target: Target) -> tuple[LoopRV, LoopRV]:
    width = vector_width(schedule, block, channels, target)
    vectors, lane = schedule.split(channels, [None, width])
    return vectors, lane


def _spread(schedule: Schedule, loop: LoopRV) -> None:
    function = schedule.mod["main"]
    if math.prod(int(dim) for dim in function.params[-1].shape) >= PARALLEL_ELEMENTS:
        schedule.parallel(loop)


def _unroll(schedule: Schedule, loops: list[LoopRV]) -> None:
    *outer, lane = loops
    for loop in outer:
        schedule.unroll(loop)
    schedule.vectorize(lane)

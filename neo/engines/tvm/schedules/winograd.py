"""The transforms before and after the products of a Winograd convolution: one tile of one vector of channels at a time.

Everything inside a tile is unrolled: the sums over matrices of constants then lose their zeros.
"""

from __future__ import annotations

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from neo.contract.device import Target
from neo.engines.tvm.schedules.injective import PARALLEL_ELEMENTS
from neo.engines.tvm.schedules.loops import blocks_of, elements, extent, vector_width

HALF = "winograd_half"
PIXELS = "winograd_pixels"
OUTPUT = "winograd_output"


def schedule_winograd(schedule: Schedule, target: Target, _packable: frozenset[int]) -> dict[int, int] | None:
    """None if the function is neither of the transforms."""
    names = {schedule.get(block).name_hint: block for block in blocks_of(schedule)}
    if PIXELS in names:
        _schedule_input(schedule, names, target)
    elif OUTPUT in names:
        _schedule_output(schedule, names, target)
    else:
        return None
    return {}


def _schedule_input(schedule: Schedule, names: dict[str, SBlockRV], target: Target) -> None:
    last = blocks_of(schedule)[-1]
    points, tiles, channels = loops = schedule.get_loops(last)
    size = elements(schedule, loops)
    vectors, lane = _vectors(schedule, last, channels, target)
    schedule.reorder(tiles, vectors, points, lane)
    _spread(schedule, tiles, size)
    for block in (names[HALF], names[PIXELS]):
        schedule.compute_at(block, vectors, preserve_unit_loops=True)
    for block in (last, names[HALF], names[PIXELS]):
        _unroll(schedule, schedule.get_loops(block)[2:])


def _schedule_output(schedule: Schedule, names: dict[str, SBlockRV], target: Target) -> None:
    blocks = blocks_of(schedule)
    last = blocks[-1]
    side = _tile_side(schedule, names[HALF])
    for block in blocks[:-1]:
        if schedule.get(block).name_hint != HALF:
            schedule.compute_inline(block)
    images, rows, columns, channels = loops = schedule.get_loops(last)
    size = elements(schedule, loops)
    row_tiles, row = schedule.split(rows, [None, side])
    column_tiles, column = schedule.split(columns, [None, side])
    vectors, lane = _vectors(schedule, last, channels, target)
    schedule.reorder(images, row_tiles, column_tiles, vectors, row, column, lane)
    _spread(schedule, schedule.fuse(images, row_tiles, column_tiles), size)
    schedule.compute_at(names[HALF], vectors, preserve_unit_loops=True)
    for block in (last, names[HALF]):
        _unroll(schedule, schedule.get_loops(block)[2:])


def _tile_side(schedule: Schedule, half: SBlockRV) -> int:
    return extent(schedule, schedule.get_loops(half)[1])


def _vectors(schedule: Schedule, block: SBlockRV, channels: LoopRV, target: Target) -> tuple[LoopRV, LoopRV]:
    width = vector_width(schedule, block, channels, target)
    vectors, lane = schedule.split(channels, [None, width])
    return vectors, lane


def _spread(schedule: Schedule, tiles: LoopRV, size: int) -> None:
    if size >= PARALLEL_ELEMENTS:
        schedule.parallel(tiles)


def _unroll(schedule: Schedule, loops: list[LoopRV]) -> None:
    *outer, lane = loops
    for loop in outer:
        schedule.unroll(loop)
    schedule.vectorize(lane)

"""Attention, as ``lowering/attention.py`` writes it. Tiles of rows are divided between threads, and all steps for a
tile run one after the other while it is in the cache.
"""

from __future__ import annotations

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from neo.contract.device import Target
from neo.engines.tvm.cpu.lowering.attention import BLOCKS, VALUES
from neo.engines.tvm.cpu.schedules.loops import blocks_of, extent, keep_in_registers, lanes, vectorise_innermost
from neo.engines.tvm.cpu.schedules.rows import reduce_by_lanes, vectorise_partial
from neo.engines.tvm.cpu.units.tiles import FLOAT_BYTES, Tile, choose_tile, choose_width

LOCAL = "local"
# limit for the scores and powers of a tile, which are on a thread's stack
STACK_BYTES = 1 << 20


def schedule_attention(schedule: Schedule, target: Target, _packable: frozenset[int]) -> dict[int, int] | None:
    """None if the function is not attention."""
    *before, last = blocks_of(schedule)
    blocks = {schedule.get(block).name_hint: block for block in before}
    if VALUES not in blocks:
        return None
    scores, biased, largest, powers, total, values = (blocks.pop(name) for name in BLOCKS)
    for block in blocks.values():
        schedule.compute_inline(block)
    tile = _tile(schedule, values, target)
    partial = [reduce_by_lanes(schedule, block, target) for block in (largest, total)]

    rows, columns = _rows_and_columns(schedule, last)
    row_tiles, row = schedule.split(rows, [None, tile.rows])
    column_tiles, *inner = schedule.split(columns, [None, tile.vectors, tile.lanes])
    own = (row_tiles, row, column_tiles, *inner)
    lead = [loop for loop in schedule.get_loops(last) if not _is_one_of(schedule, loop, own)]
    schedule.reorder(*lead, row_tiles, column_tiles, row, *inner)
    keep_in_registers(schedule, [row, *inner])
    tiles = schedule.fuse(*lead, row_tiles)
    schedule.parallel(tiles)

    schedule.compute_at(values, column_tiles, preserve_unit_loops=True)
    for block in reversed(blocks_of(schedule)):
        if schedule.get(block).name_hint not in (VALUES, schedule.get(last).name_hint):
            schedule.compute_at(block, tiles, preserve_unit_loops=True)
    wide = extent(schedule, schedule.get_loops(biased)[-1])
    vectors = choose_width(tile.rows, wide // tile.lanes, target.cpu.operand_registers)
    *_, row, columns = schedule.get_loops(biased)
    column_tiles, *inner = schedule.split(columns, [None, vectors, tile.lanes])
    schedule.reorder(column_tiles, row, *inner)
    keep_in_registers(schedule, [row, *inner])
    schedule.compute_at(scores, column_tiles, preserve_unit_loops=True)
    for block in (scores, values):
        _accumulate(schedule, block, tile.lanes)
    if 2 * tile.rows * wide * FLOAT_BYTES <= STACK_BYTES:
        for block in (biased, powers):
            schedule.set_scope(block, 0, LOCAL)
    vectorise_innermost(schedule, powers, target)
    # last: after decompose_reduction a block fails the checks of other primitives
    for reduction in partial:
        if reduction is not None:
            vectorise_partial(schedule, reduction)
    return {}


def _tile(schedule: Schedule, values: SBlockRV, target: Target) -> Tile:
    *_, tall, columns, _ = (extent(schedule, loop) for loop in schedule.get_loops(values))
    return choose_tile(tall, columns, lanes(schedule, values, target), target.cpu.operand_registers)


def _rows_and_columns(schedule: Schedule, last: SBlockRV) -> list[LoopRV]:
    """The loops over rows and columns, wherever the output has these dimensions."""
    block = schedule.get(last)
    read = next(read for read in block.reads if read.source.name == VALUES)
    indices = [bounds.min for bounds in read.region[-2:]]
    own = [next(i for i, v in enumerate(block.iter_vars) if v.var.same_as(index)) for index in indices]
    loops = schedule.get_loops(last)
    return [loops[index] for index in own]


def _is_one_of(schedule: Schedule, loop: LoopRV, others: tuple[LoopRV, ...]) -> bool:
    return any(schedule.get(loop).loop_var.same_as(schedule.get(other).loop_var) for other in others)


def _accumulate(schedule: Schedule, block: SBlockRV, width: int) -> None:
    """Schedule a product of one tile, below the loops over tiles, with the reduction outermost and sums in
    registers.
    """
    schedule.set_scope(block, 0, LOCAL)
    around = len(schedule.get_loops(block)) - len(schedule.get(block).iter_vars)
    *rows, columns, step = schedule.get_loops(block)[around:]
    inner = [*rows, *schedule.split(columns, [None, width])]
    schedule.reorder(step, *inner)
    keep_in_registers(schedule, inner)
    start = schedule.decompose_reduction(block, step)
    keep_in_registers(schedule, schedule.get_loops(start)[around:])

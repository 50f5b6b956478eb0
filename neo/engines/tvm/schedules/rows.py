"""Functions with several reductions over the innermost axis (softmax, layer norm): one pass per row.

All steps for a row run one after the other while the row is in the cache; rows go to the threads.
"""

from __future__ import annotations

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from neo.contract.device import Target
from neo.engines.tvm.schedules.injective import PARALLEL_ELEMENTS
from neo.engines.tvm.schedules.loops import blocks_of, extent, is_reduction, lanes, largest_divisor, loops_of


def schedule_rows(schedule: Schedule, target: Target) -> bool:
    """True if the function was scheduled; False if it has fewer than two reductions or ends in one."""
    blocks = blocks_of(schedule)
    if sum(is_reduction(schedule, block) for block in blocks) < 2:
        return False
    loops = loops_of(schedule, blocks[-1])
    if loops is None or loops.reduction or len(loops.spatial) < 2:
        return False
    *rows, columns = loops.spatial
    elements = extent(schedule, columns)
    row = schedule.fuse(*rows)
    elements *= extent(schedule, row)
    for block in reversed(blocks[:-1]):
        schedule.compute_at(block, row, preserve_unit_loops=True)
    for block in blocks:
        if not is_reduction(schedule, block):
            _vectorise(schedule, block, schedule.get_loops(block)[-1], target)
    if elements >= PARALLEL_ELEMENTS:
        schedule.parallel(row)
    return True


def _vectorise(schedule: Schedule, block: SBlockRV, loop: LoopRV, target: Target) -> None:
    width = largest_divisor(extent(schedule, loop), lanes(schedule, block, target))
    if width > 1:
        schedule.vectorize(schedule.split(loop, [None, width])[1])

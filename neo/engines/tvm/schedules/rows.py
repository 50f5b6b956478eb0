"""Functions with several reductions over the innermost axis (softmax, layer norm): one pass per row.

All steps for a row run one after the other while the row is in the cache; rows go to the threads.
"""

from __future__ import annotations

from tvm.s_tir import Schedule

from neo.contract.device import Target
from neo.engines.tvm.schedules.injective import PARALLEL_ELEMENTS
from neo.engines.tvm.schedules.loops import blocks_of, extent, is_reduction, loops_of, vectorise_innermost


def schedule_rows(schedule: Schedule, target: Target, _packable: frozenset[int]) -> dict[int, int] | None:
    """None if the function has fewer than two reductions or ends in one."""
    blocks = blocks_of(schedule)
    if sum(is_reduction(schedule, block) for block in blocks) < 2:
        return None
    loops = loops_of(schedule, blocks[-1])
    if loops is None or loops.reduction or len(loops.spatial) < 2:
        return None
    *rows, columns = loops.spatial
    elements = extent(schedule, columns)
    row = schedule.fuse(*rows)
    elements *= extent(schedule, row)
    for block in reversed(blocks[:-1]):
        schedule.compute_at(block, row, preserve_unit_loops=True)
    for block in blocks:
        if not is_reduction(schedule, block):
            vectorise_innermost(schedule, block, target)
    if elements >= PARALLEL_ELEMENTS:
        schedule.parallel(row)
    return {}

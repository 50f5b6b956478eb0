"""Functions without a reduction (elementwise, transposes, padding, slices): one parallel, vectorised pass."""

from __future__ import annotations

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import SBlockRV

from neo.contract.device import Target
from neo.engines.tvm.schedules.loops import blocks_of, extent, is_reduction, lanes, largest_divisor, loops_of

# below this many elements the wake-up of a second thread costs more than it saves
PARALLEL_ELEMENTS = 1 << 14


def schedule_injective(schedule: Schedule, target: Target, _packable: frozenset[int]) -> dict[int, int] | None:
    """None if the function has a reduction."""
    blocks = blocks_of(schedule)
    if not blocks or any(is_reduction(schedule, block) for block in blocks):
        return None
    for block in blocks[:-1]:
        schedule.compute_inline(block)
    return {} if vectorised_pass(schedule, blocks[-1], target) else None


def vectorised_pass(schedule: Schedule, block: SBlockRV, target: Target) -> bool:
    """Schedule a block that reduces nothing, by itself. False if its loops are of an unforeseen kind."""
    loops = loops_of(schedule, block)
    if loops is None or not loops.spatial:
        return False
    fused = schedule.fuse(*loops.spatial)
    elements = extent(schedule, fused)
    vector = largest_divisor(elements, lanes(schedule, block, target))
    outer, inner = schedule.split(fused, [None, vector])
    if vector > 1:
        schedule.vectorize(inner)
    if elements >= PARALLEL_ELEMENTS:
        threads, _ = schedule.split(outer, [largest_divisor(elements // vector, 4 * target.cores), None])
        schedule.parallel(threads)
    return True

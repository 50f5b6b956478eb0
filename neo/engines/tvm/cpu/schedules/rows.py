"""Functions with several reductions over the innermost axis (softmax, layer norm) or the one before it, computed row by
row or by vectors of columns. ``schedule_sums`` is for a single reduction along rows, as a mean or a maximum.

All steps for a row run one after the other while the row is in the cache. Rows are divided between threads. A reduction
has one partial result for each lane of a vector and joins these at the end, because the additions of a single sum form
a chain of dependencies.
"""

from __future__ import annotations

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from neo.contract.device import Target
from neo.engines.tvm.cpu.schedules.injective import vectorised_pass
from neo.engines.tvm.cpu.schedules.loops import (
    blocks_of,
    elements,
    extent,
    has_condition,
    is_reduction,
    lanes,
    loops_of,
    vector_width,
    vectorise_innermost,
)
from neo.engines.tvm.cpu.units.threads import PARALLEL_ELEMENTS

# with narrower vectors, joining the partial results costs more than it gains
LEAST_LANES = 4
# vectors of partial sums, enough to hide the latency of additions
SUMS = 4


def schedule_rows(schedule: Schedule, target: Target, _packable: frozenset[int]) -> dict[int, int] | None:
    """None if the function has fewer than two reductions or ends in one."""
    blocks = blocks_of(schedule)
    if sum(is_reduction(schedule, block) for block in blocks) < 2:
        return None
    loops = loops_of(schedule, blocks[-1])
    if loops is None or loops.reduction or len(loops.spatial) < 2:
        return None
    if _reduces_columns(schedule, blocks):
        return _schedule_columns(schedule, blocks, loops.spatial, target)
    *rows, _columns = loops.spatial
    size = elements(schedule, loops.spatial)
    row = schedule.fuse(*rows)
    partial = [reduce_by_lanes(schedule, block, target) for block in blocks if is_reduction(schedule, block)]
    for block in reversed(blocks_of(schedule)[:-1]):
        schedule.compute_at(block, row, preserve_unit_loops=True)
    for block in blocks:
        if not is_reduction(schedule, block):
            vectorise_innermost(schedule, block, target)
    if size >= PARALLEL_ELEMENTS:
        schedule.parallel(row)
    # last: after decompose_reduction a block fails the checks of other primitives
    for block in partial:
        if block is not None:
            vectorise_partial(schedule, block)
    return {}


def schedule_sums(schedule: Schedule, target: Target, _packable: frozenset[int]) -> dict[int, int] | None:
    """None unless the function is one reduction of one tensor along its rows, with an epilogue."""
    blocks = blocks_of(schedule)
    reductions = [block for block in blocks if is_reduction(schedule, block)]
    if len(reductions) != 1 or not _reads_along_rows(schedule, reductions[0]):
        return None
    at = blocks.index(reductions[0])
    before, behind = blocks[:at], blocks[at + 1 :]
    loops = loops_of(schedule, reductions[0])
    if loops is None or not loops.spatial or any(has_condition(schedule, block) for block in before):
        return None
    for block in [*before, *behind[:-1]]:
        schedule.compute_inline(block)
    steps = schedule.fuse(*loops.reduction)
    width = SUMS * lanes(schedule, reductions[0], target)
    if extent(schedule, steps) % width:
        width = vector_width(schedule, reductions[0], steps, target)
    if width < LEAST_LANES or width == extent(schedule, steps):
        return None
    size = elements(schedule, [*loops.spatial, steps])
    _, lane = schedule.split(steps, [None, width])
    partial = schedule.rfactor(lane, factor_axis=len(loops.spatial))
    row = schedule.fuse(*schedule.get_loops(reductions[0])[: len(loops.spatial)])
    schedule.compute_at(partial, row, preserve_unit_loops=True)
    if behind and not vectorised_pass(schedule, behind[-1], target):
        return None
    if size >= PARALLEL_ELEMENTS:
        schedule.parallel(row)
    vectorise_partial(schedule, partial)
    return {}


def _reads_along_rows(schedule: Schedule, block: SBlockRV) -> bool:
    """Does the reduction read one tensor, over all of its last dimensions, which are contiguous in memory?"""
    described = schedule.get(block)
    steps = [v for v in described.iter_vars if v.iter_type == tirx.IterVar.CommReduce]
    reads = [read for read in described.reads if not read.source.same_as(described.writes[0].source)]
    if len(reads) != 1 or len(steps) > len(reads[0].region):
        return False
    sizes = reads[0].source.shape[-len(steps) :]
    last = zip(reads[0].region[-len(steps) :], sizes, steps, strict=True)
    fixed = all(isinstance(size, tirx.IntImm) for size in sizes)
    return fixed and all(at.min.same_as(step.var) and int(size) == int(step.dom.extent) for at, size, step in last)


def _reduces_columns(schedule: Schedule, blocks: list[SBlockRV]) -> bool:
    """Do the reductions run over the dimension before the innermost one, as a softmax over channels may?"""
    block = next(block for block in blocks if is_reduction(schedule, block))
    described = schedule.get(block)
    steps = [v.var for v in described.iter_vars if v.iter_type == tirx.IterVar.CommReduce]
    regions = [[bounds.min for bounds in read.region] for read in described.reads]
    return any(len(region) > 1 and region[-2].same_as(steps[0]) for region in regions)


def _schedule_columns(
    schedule: Schedule, blocks: list[SBlockRV], loops: list[LoopRV], target: Target
) -> dict[int, int] | None:
    """A vector of neighbouring columns at a time."""
    *rows, steps, columns = loops
    size = elements(schedule, loops)
    width = vector_width(schedule, blocks[-1], columns, target)
    vectors, lane = schedule.split(columns, [None, width])
    schedule.reorder(*rows, vectors, steps, lane)
    outer = schedule.fuse(*rows, vectors)
    for block in reversed(blocks[:-1]):
        schedule.compute_at(block, outer, preserve_unit_loops=True)
    if size >= PARALLEL_ELEMENTS:
        schedule.parallel(outer)
    schedule.vectorize(lane)
    for block in blocks[:-1]:
        own = loops_of(schedule, block, skip=1)
        if own is None:
            return None
        if own.reduction:
            schedule.reorder(*own.reduction, own.spatial[-1])
            schedule.vectorize(own.spatial[-1])
            start = schedule.decompose_reduction(block, own.reduction[0])
            schedule.vectorize(schedule.get_loops(start)[-1])
        else:
            schedule.vectorize(own.spatial[-1])
    return {}


def reduce_by_lanes(schedule: Schedule, block: SBlockRV, target: Target) -> SBlockRV | None:
    """Split the reduction by rfactor into partial results, one for each lane, and a block that joins them.

    -> the block of partial results; None if no vector length divides the row.
    """
    loops = loops_of(schedule, block)
    if loops is None or len(loops.reduction) != 1:
        return None
    (steps,) = loops.reduction
    width = vector_width(schedule, block, steps, target)
    if width < LEAST_LANES or width == extent(schedule, steps):
        return None
    _, lane = schedule.split(steps, [None, width])
    return schedule.rfactor(lane, factor_axis=len(loops.spatial))


def vectorise_partial(schedule: Schedule, block: SBlockRV) -> None:
    """Vectorise the lanes of a block of partial results, which is below the loop over rows."""
    own = loops_of(schedule, block, skip=1)
    if own is None:
        return
    (steps,), lane = own.reduction, own.spatial[0]  # rfactor puts the new dimension first
    schedule.reorder(steps, lane)
    schedule.vectorize(lane)
    start = schedule.decompose_reduction(block, steps)
    schedule.vectorize(schedule.get_loops(start)[-1])

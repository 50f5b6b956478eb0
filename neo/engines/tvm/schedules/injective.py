"""Functions without a reduction (elementwise, transposes, padding, slices): one parallel, vectorised pass."""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV
from tvm.tirx import IndexMap

from neo.contract.device import Target
from neo.engines.tvm.schedules.loops import (
    blocks_of,
    extent,
    has_condition,
    is_reduction,
    lanes,
    largest_divisor,
    loops_of,
)

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
    if has_condition(schedule, block):
        outer, inner = _ask_by_vectors(schedule, block, loops.spatial, lanes(schedule, block, target))
    else:
        fused = schedule.fuse(*loops.spatial)
        outer, inner = schedule.split(
            fused, [None, largest_divisor(extent(schedule, fused), lanes(schedule, block, target))]
        )
    vector = extent(schedule, inner)
    elements = extent(schedule, outer) * vector
    if vector > 1:
        schedule.vectorize(inner)
    if elements >= PARALLEL_ELEMENTS:
        threads, _ = schedule.split(outer, [largest_divisor(elements // vector, 4 * target.cores), None])
        schedule.parallel(threads)
    return True


def _ask_by_vectors(schedule: Schedule, block: SBlockRV, loops: list[LoopRV], width: int) -> tuple[LoopRV, LoopRV]:
    """-> (all loops over vectors in one, the loop inside a vector).

    A block that chooses between values, as a concatenation does, gets the number of the vector and the place in it as
    two variables: where the answer is the same for a whole vector, TVM sees that it depends on the first alone, and
    otherwise it would compute every element by itself.
    """
    rank = len(loops)
    last = max((i for i, loop in enumerate(loops) if extent(schedule, loop) > 1), default=rank - 1)
    vector = largest_divisor(extent(schedule, loops[last]), width)

    def apart(*at: tirx.Var) -> list[Any]:
        return [*at[:last], at[last] // vector, *at[last + 1 :], at[last] % vector]

    dtype = str(schedule.get(loops[-1]).extent.ty.dtype)
    schedule.transform_block_layout(block, IndexMap.from_func(apart, ndim=rank, index_dtype=dtype))
    *outer, inner = schedule.get_loops(block)
    return schedule.fuse(*outer), inner

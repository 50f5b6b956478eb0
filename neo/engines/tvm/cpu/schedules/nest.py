"""The parts of a function with one reduction: padding, reduction, epilogue."""

from __future__ import annotations

import itertools
import operator
from dataclasses import dataclass

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV, ScheduleError

from neo.engines.tvm.cpu.schedules.loops import (
    Loops,
    blocks_of,
    elements,
    extent,
    has_condition,
    is_reduction,
    loops_of,
)
from neo.engines.tvm.cpu.units.tiles import STEPS_UNROLLED


@dataclass(frozen=True, slots=True)
class Nest:
    """A function with one reduction, after all other blocks were inlined as far as possible."""

    #: blocks with conditions, which the reduction reads
    padding: list[SBlockRV]
    reduction: SBlockRV
    #: of the reduction
    loops: Loops
    #: last block of the epilogue, which is computed tile by tile; the reduction itself if there is none
    last: SBlockRV
    #: block after that, which has more outputs than the reduction and is scheduled by itself
    spread: SBlockRV | None


def nest_of(schedule: Schedule) -> Nest | None:
    """Inlines blocks and finds the parts. None if the function does not have exactly one reduction."""
    blocks = blocks_of(schedule)
    reductions = [index for index, block in enumerate(blocks) if is_reduction(schedule, block)]
    if len(reductions) != 1:
        return None
    before, reduction, epilogue = blocks[: reductions[0]], blocks[reductions[0]], blocks[reductions[0] + 1 :]
    loops = loops_of(schedule, reduction)
    if loops is None or not loops.spatial or not all(_takes(schedule, block) for block in epilogue):
        return None
    padding = [block for block in before if has_condition(schedule, block)]
    outputs = elements(schedule, loops.spatial)
    sizes = [elements(schedule, spatial_of(schedule, block)) for block in epilogue]
    fitting = next((index for index, size in enumerate(sizes) if size > outputs), len(epilogue))
    with_tile, behind = epilogue[:fitting], epilogue[fitting:]
    for block in [*before, *with_tile[:-1], *behind[:-1]]:
        if block not in padding:
            schedule.compute_inline(block)
    return Nest(padding, reduction, loops, [reduction, *with_tile][-1], behind[-1] if behind else None)


def _takes(schedule: Schedule, block: SBlockRV) -> bool:
    loops = loops_of(schedule, block)
    return loops is not None and bool(loops.spatial) and not loops.reduction


def spatial_of(schedule: Schedule, block: SBlockRV, inside: int = 0) -> list[LoopRV]:
    loops = loops_of(schedule, block, inside)
    return [] if loops is None else loops.spatial


def known_loops(schedule: Schedule, block: SBlockRV, inside: int) -> Loops:
    loops = loops_of(schedule, block, inside)
    if loops is None:
        raise ScheduleError("a reduction with other loops than expected")
    return loops


def short_steps(schedule: Schedule, steps: list[LoopRV]) -> list[LoopRV]:
    """The innermost loops of a reduction that together have at most STEPS_UNROLLED steps."""
    counts = itertools.accumulate((extent(schedule, loop) for loop in reversed(steps)), operator.mul)
    few = sum(count <= STEPS_UNROLLED for count in counts)
    return steps[len(steps) - few :]

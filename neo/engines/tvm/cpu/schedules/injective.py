"""Functions without a reduction (elementwise, transposes, padding, slices): one parallel, vectorised pass."""

from __future__ import annotations

import math
from typing import Any

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV
from tvm.tirx import IndexMap
from tvm.tirx.analysis import undefined_vars

from neo.contract.device import Target
from neo.engines.tvm.cpu.schedules.loops import (
    blocks_of,
    elements,
    extent,
    has_condition,
    is_reduction,
    lanes,
    loops_of,
)
from neo.engines.tvm.cpu.units.threads import PARALLEL_ELEMENTS
from neo.engines.tvm.cpu.units.tiles import choose_lanes
from neo.engines.tvm.tvm_private import is_looked_up, modulus_of_condition

# vectors that are narrower than full ones by more than this factor are slower than full ones with gathered inputs
NARROW = 4
# rows that alternate between more tensors than this are not unrolled
MOST_TURNS = 8


def schedule_injective(schedule: Schedule, target: Target, _packable: frozenset[int]) -> dict[int, int] | None:
    """None if the function has a reduction."""
    blocks = blocks_of(schedule)
    if not blocks or any(is_reduction(schedule, block) for block in blocks):
        return None
    for block in blocks[:-1]:
        schedule.compute_inline(block)
    return {} if vectorised_pass(schedule, blocks[-1], target) else None


def vectorised_pass(schedule: Schedule, block: SBlockRV, target: Target) -> bool:
    """Schedule a single block without a reduction. False if its loops are of an unexpected kind."""
    loops = loops_of(schedule, block)
    if loops is None or not loops.spatial:
        return False
    size = elements(schedule, loops.spatial)
    turns = _turns(schedule, block, loops.spatial)
    if turns > 1:
        # unrolled by turns, each element's source is known; LLVM vectorises the rest and interleaves the vectors
        *others, last = loops.spatial
        schedule.unroll(schedule.split(last, [None, turns])[1])
        _spread(schedule, schedule.fuse(*others), size, target)
        return True
    if has_condition(schedule, block):
        outer, inner = _ask_by_vectors(schedule, block, loops.spatial, lanes(schedule, block, target))
    else:
        width = _vector_of(schedule, block, loops.spatial, lanes(schedule, block, target))
        *others, last = loops.spatial
        if others and _looks_up(schedule, block) and extent(schedule, last) % width == 0:
            # the index of a row is looked up once, not for every vector of the row
            _, inner = schedule.split(last, [None, width])
            outer = schedule.fuse(*others)
        else:
            outer, inner = schedule.split(schedule.fuse(*loops.spatial), [None, width])
    if extent(schedule, inner) > 1:
        schedule.vectorize(inner)
    _spread(schedule, outer, size, target)
    return True


def _spread(schedule: Schedule, loop: LoopRV, size: int, target: Target) -> None:
    """Divide the loop between threads, if there are enough elements."""
    if size >= PARALLEL_ELEMENTS:
        threads, _ = schedule.split(loop, [_largest_divisor(extent(schedule, loop), 4 * target.cpu.cores), None])
        schedule.parallel(threads)


def _turns(schedule: Schedule, block: SBlockRV, loops: list[LoopRV]) -> int:
    """The number of tensors between which neighbouring elements of a row alternate, as in a channel shuffle; 1 if they
    do not.
    """
    if len(loops) < 2 or not has_condition(schedule, block):
        return 1
    described = schedule.get(block)
    variable = described.iter_vars[-1].var.name
    turns = modulus_of_condition(described.body, variable) or 1
    return turns if turns <= MOST_TURNS and extent(schedule, loops[-1]) % turns == 0 else 1


def _looks_up(schedule: Schedule, block: SBlockRV) -> bool:
    """Does the block read at indices that come from a tensor?"""
    reads = schedule.get(block).reads
    return any(is_looked_up(bounds.min) for read in reads for bounds in read.region)


def _vector_of(schedule: Schedule, block: SBlockRV, loops: list[LoopRV], width: int) -> int:
    """Vector length in the fused loop, such that a vector of the output is contiguous in every input too. For instance,
    a vector must not reach beyond the last channel if an image is multiplied by one number for each channel.
    """
    described = schedule.get(block)
    used = [[_uses(read, variable.var) for read in described.reads] for variable in described.iter_vars]
    together, alike = 1, None
    for loop, uses in reversed(list(zip(loops, used, strict=True))):
        size = extent(schedule, loop)
        if size > 1 and alike not in (None, uses):
            break
        together, alike = together * size, uses if size > 1 else alike
    vector = choose_lanes(together, width)
    if vector * NARROW >= width:
        return vector
    return choose_lanes(elements(schedule, loops), width)


def _uses(read: tirx.BufferRegion, variable: tirx.Var) -> bool:
    return any(v.same_as(variable) for bounds in read.region for v in undefined_vars(bounds.min))


def _ask_by_vectors(schedule: Schedule, block: SBlockRV, loops: list[LoopRV], width: int) -> tuple[LoopRV, LoopRV]:
    """For blocks with a condition, as a concatenation has. -> (fused loop over vectors, loop over lanes).

    The last index of the block is split into vector and lane. If the condition is the same for a whole vector, it
    depends on the first variable only, and TVM sees that. Otherwise it would evaluate the condition for every element.
    """
    rank = len(loops)
    last = max((i for i, loop in enumerate(loops) if extent(schedule, loop) > 1), default=rank - 1)
    vector = choose_lanes(math.gcd(extent(schedule, loops[last]), *_joined(schedule, block, last)), width)

    def apart(*at: tirx.Var) -> list[Any]:
        return [*at[:last], at[last] // vector, *at[last + 1 :], at[last] % vector]

    dtype = str(schedule.get(loops[-1]).extent.ty.dtype)
    schedule.transform_block_layout(block, IndexMap.from_func(apart, ndim=rank, index_dtype=dtype))
    *outer, inner = schedule.get_loops(block)
    return schedule.fuse(*outer), inner


def _joined(schedule: Schedule, block: SBlockRV, axis: int) -> list[int]:
    """Sizes of the parts that the block concatenates along the axis; [] if it does something else. Vectors have to
    divide them: one across the border of two parts would evaluate the condition for every element.
    """
    described = schedule.get(block)
    whole = described.writes[0].source.shape
    shapes = [read.source.shape for read in described.reads if len(read.source.shape) == len(whole)]
    sizes = [int(shape[axis]) for shape in shapes if isinstance(shape[axis], tirx.IntImm)]
    parts = [size for size in sizes if 1 < size < int(whole[axis])]
    return parts if sum(parts) == int(whole[axis]) else []


def _largest_divisor(number: int, limit: int) -> int:
    return max(divisor for divisor in range(1, max(1, min(number, limit)) + 1) if number % divisor == 0)

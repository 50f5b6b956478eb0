"""Queries on a schedule's blocks and loops, and steps that several families share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from tvm import sym, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from neo.contract.device import Target
from neo.engines.tvm import tvm_private
from neo.engines.tvm.cpu.units.tiles import choose_lanes


@dataclass(frozen=True, slots=True)
class Loops:
    """A block's loops from the outside in."""

    spatial: list[LoopRV]
    reduction: list[LoopRV]


def blocks_of(schedule: Schedule) -> list[SBlockRV]:
    return list(schedule.get_child_blocks(schedule.get_sblock("root")))


def loops_of(schedule: Schedule, block: SBlockRV, skip: int = 0) -> Loops | None:
    """The block's loops without the ``skip`` outermost. None if one is of neither kind or has no fixed extent."""
    loops = schedule.get_loops(block)[skip:]
    kinds = [variable.iter_type for variable in schedule.get(block).iter_vars]
    if len(loops) != len(kinds) or any(not isinstance(schedule.get(loop).extent, tirx.IntImm) for loop in loops):
        return None
    if any(kind not in (tirx.IterVar.DataPar, tirx.IterVar.CommReduce) for kind in kinds):
        return None
    pairs = list(zip(loops, kinds, strict=True))
    return Loops(
        [loop for loop, kind in pairs if kind == tirx.IterVar.DataPar],
        [loop for loop, kind in pairs if kind == tirx.IterVar.CommReduce],
    )


def is_reduction(schedule: Schedule, block: SBlockRV) -> bool:
    return any(variable.iter_type == tirx.IterVar.CommReduce for variable in schedule.get(block).iter_vars)


def extent(schedule: Schedule, loop: LoopRV) -> int:
    return int(schedule.get(loop).extent)


def has_condition(schedule: Schedule, block: SBlockRV) -> bool:
    """Does the block have a condition, as padding has? Inlined, it would be evaluated in the innermost loop."""
    return tvm_private.has_condition(schedule.get(block).body)


def lanes(schedule: Schedule, block: SBlockRV, target: Target) -> int:
    """Elements of the block's output in one vector register."""
    dtype = schedule.get(block).writes[0].source.dtype
    bits = int("".join(filter(str.isdigit, str(dtype))) or 8)
    return max(1, target.cpu.vector_bits // bits)


def elements(schedule: Schedule, loops: Iterable[LoopRV]) -> int:
    return math.prod(extent(schedule, loop) for loop in loops)


def vector_width(schedule: Schedule, block: SBlockRV, loop: LoopRV, target: Target) -> int:
    """Vector length for the loop: elements of the block's output that fit a vector register and divide the extent."""
    return choose_lanes(extent(schedule, loop), lanes(schedule, block, target))


def vectorise_innermost(schedule: Schedule, block: SBlockRV, target: Target) -> None:
    """Split the block's innermost loop by its vector length, and vectorise the inner part."""
    loop = schedule.get_loops(block)[-1]
    width = vector_width(schedule, block, loop, target)
    if width > 1:
        schedule.vectorize(schedule.split(loop, [None, width])[1])


def keep_in_registers(schedule: Schedule, loops: list[LoopRV]) -> None:
    """Unroll the loops inside a tile and vectorise the innermost one, so that LLVM keeps the tile in registers."""
    for loop in loops[:-1]:
        schedule.unroll(loop)
    schedule.vectorize(loops[-1])


def pack_columns(schedule: Schedule, block: SBlockRV, width: int, packable: frozenset[int]) -> dict[int, int]:
    """Let the reduction read its weights packed in panels of ``width`` columns; -> {parameter: width} of such weights.

    Weights are parameters whose last index is the innermost output dimension, after those of the reduction, and of the
    batch if each matrix of a batch has its own.
    """
    parameters = schedule.mod["main"].params
    variables = schedule.get(block).iter_vars
    *rows, columns = [v.var for v in variables if v.iter_type == tirx.IterVar.DataPar]
    steady = [*rows[:-1], *(v.var for v in variables if v.iter_type == tirx.IterVar.CommReduce)]
    packed = {}
    for index, read in enumerate(schedule.get(block).reads):
        *steps, last = [bounds.min for bounds in read.region]
        position = next((i for i in packable if parameters[i].same_as(read.source)), None)
        is_stream = all(isinstance(s, tirx.IntImm) or any(s.same_as(v) for v in steady) for s in steps)
        if position is None or not is_stream or not last.same_as(columns) or int(read.source.shape[-1]) <= width:
            continue
        schedule.transform_layout(block, ("read", index), lambda *at: [at[-1] // width, *at[:-1], at[-1] % width])
        packed[position] = width
    return packed


def shares_columns(schedule: Schedule, block: SBlockRV) -> bool:
    """Does the reduction read an operand that is the same for all columns, as the left one of a matrix product?
    Depthwise convolutions and poolings do not.
    """
    *_, columns = [v.var for v in schedule.get(block).iter_vars if v.iter_type == tirx.IterVar.DataPar]
    for read in schedule.get(block).reads:
        found = sym.detect_linear_equation(read.region[-1].min, [columns])
        if not found or not isinstance(found[0], tirx.IntImm) or int(found[0]) != 1:
            return True
    return False


def batch_rank(schedule: Schedule, block: SBlockRV) -> int:
    """Number of outermost output dimensions that index the right operand, the one with the columns last, too."""
    *rows, columns = [v.var for v in schedule.get(block).iter_vars if v.iter_type == tirx.IterVar.DataPar]
    for read in schedule.get(block).reads:
        *steps, last = [bounds.min for bounds in read.region]
        if last.same_as(columns):
            used = [any(step.same_as(row) for step in steps) for row in rows]
            return used.index(False) if False in used else len(used)
    return 0


def row_pitch(schedule: Schedule, block: SBlockRV) -> int:
    """Stride in bytes, in the left operand, between what is read for neighbouring rows of the output; 0 if there is no
    such operand, or the stride is not constant.
    """
    *rows, _ = [v.var for v in schedule.get(block).iter_vars if v.iter_type == tirx.IterVar.DataPar]
    if not rows:
        return 0
    analyzer = sym.Analyzer()
    for variable in schedule.get(block).iter_vars:
        analyzer.bind(variable.var, variable.dom)
    for read in schedule.get(block).reads:
        offset = 0
        for bounds, size in zip(read.region, read.source.shape, strict=True):
            offset = offset * size + bounds.min
        found = sym.detect_linear_equation(analyzer.simplify(offset), rows[-1:])
        if found and isinstance(found[0], tirx.IntImm) and int(found[0]) > 0:
            return int(found[0]) * np.dtype(str(read.source.dtype)).itemsize
    return 0

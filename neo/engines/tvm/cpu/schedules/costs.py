"""What every kernel computes and moves, counted on its loops before they are scheduled.

The counts belong to the loops that run: Winograd's arithmetic, not the convolution's, and rows that were rounded up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tvm
from tvm.s_tir import Schedule
from tvm.s_tir.analysis import estimate_tir_flops
from tvm.s_tir.schedule import SBlockRV

from neo.engines.tvm.cpu.units.bfloat16 import multiplies_pairs
from neo.engines.tvm.ir.expressions import bytes_in
from neo.engines.tvm.tvm_private import FLOPS
from neo.runtime.engine_folder import KernelCost

# operations of two multiply-adds that the estimate, which sees an addition and a call, does not count
_MORE_OF_A_PAIR = 3
# what a function whose loops were written says of itself; it moves all of its parameters once
_FLOPS = FLOPS


def kernel_costs(module: tvm.IRModule) -> tuple[KernelCost, ...]:
    """Of every TensorIR function that can be counted.

    Left out are those with loops or shapes that depend on data, and those written as one opaque block, as sorting is.
    """
    functions = {name: f for name, f in module.functions.items() if isinstance(f, tvm.tirx.PrimFunc)}
    costs = (_cost(variable.name_hint, function) for variable, function in functions.items())
    return tuple(cost for cost in costs if cost is not None)


def _cost(name: str, function: tvm.tirx.PrimFunc) -> KernelCost | None:
    schedule = Schedule(function)
    blocks = [schedule.get(block) for block in _blocks(schedule, schedule.get_sblock("root"))]
    is_fixed = all(_is_fixed(parameter.shape) for parameter in function.params)
    says = bool(blocks) or _FLOPS in (function.attrs or {})
    if not says or not is_fixed or not all(_is_countable(block) for block in blocks):
        return None
    try:
        # operations on values; not the arithmetic of indices, nor the conditions of padding
        flops = int(estimate_tir_flops(tvm.IRModule({"main": function})))
    except tvm.error.InternalError:  # a kind of statement that the estimate does not know
        return None
    flops += sum(_MORE_OF_A_PAIR * _runs(block) for block in blocks if multiplies_pairs(block))
    moved = sum(_touched_bytes(parameter, blocks) if blocks else bytes_in(parameter) for parameter in function.params)
    written = [write.source for block in blocks for write in block.writes]
    outputs = [p for p in function.params if any(p.same_as(buffer) for buffer in written)]
    return KernelCost(name, flops, moved, tuple(tuple(int(dim) for dim in p.shape) for p in outputs))


def _runs(block: Any) -> int:
    return math.prod(int(v.dom.extent) for v in block.iter_vars)


def _is_countable(block: Any) -> bool:
    """An opaque block says nothing of its loops, and often nothing of what it writes."""
    accesses = (*block.reads, *block.writes)
    extents = [v.dom.extent for v in block.iter_vars] + [bounds.extent for a in accesses for bounds in a.region]
    return bool(block.iter_vars) and bool(block.writes) and _is_fixed(extents)


def _is_fixed(sizes: Iterable[Any]) -> bool:
    return all(isinstance(size, tvm.tirx.IntImm) for size in sizes)


def _touched_bytes(parameter: Any, blocks: list[Any]) -> int:
    """The size of the parameter, or what the blocks access if that is less: a lookup reads some rows of its table."""
    accessed = sum(
        _runs(block) * math.prod(int(bounds.extent) for bounds in region.region)
        for block in blocks
        for region in (*block.reads, *block.writes)
        if region.source.same_as(parameter)
    )
    return min(bytes_in(parameter), accessed * np.dtype(str(parameter.dtype)).itemsize)


def _blocks(schedule: Schedule, parent: SBlockRV) -> Iterator[SBlockRV]:
    for block in schedule.get_child_blocks(parent):
        yield block
        yield from _blocks(schedule, block)

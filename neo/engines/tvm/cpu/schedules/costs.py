"""Operations and memory traffic of every kernel, counted on its loops before they are scheduled.

They are those of the loops that run: for a convolution by Winograd the operations of Winograd, and rows that were
rounded up are included.
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

# a product of a pair is two multiply-adds, 4 operations; TVM's estimate sees an addition and a call, and counts 1
_MORE_OF_A_PAIR = 3
# attribute of functions with hand-written loops; they read or write each parameter once
_FLOPS = FLOPS


def kernel_costs(module: tvm.IRModule) -> tuple[KernelCost, ...]:
    """Costs of all TensorIR functions that can be counted.

    Functions whose loops or shapes depend on data are left out, and so are those written as one opaque block, as
    sorting.
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
        # operations on values only: neither index arithmetic nor the conditions of padding
        flops = int(estimate_tir_flops(tvm.IRModule({"main": function})))
    except tvm.error.InternalError:  # a kind of statement that TVM's estimate does not support
        return None
    flops += sum(_MORE_OF_A_PAIR * _runs(block) for block in blocks if multiplies_pairs(block))
    moved = sum(_touched_bytes(parameter, blocks) if blocks else bytes_in(parameter) for parameter in function.params)
    written = [write.source for block in blocks for write in block.writes]
    outputs = [p for p in function.params if any(p.same_as(buffer) for buffer in written)]
    return KernelCost(name, flops, moved, tuple(tuple(int(dim) for dim in p.shape) for p in outputs))


def _runs(block: Any) -> int:
    return math.prod(int(v.dom.extent) for v in block.iter_vars)


def _is_countable(block: Any) -> bool:
    """False for opaque blocks: they do not declare their loops, and often not what they write."""
    accesses = (*block.reads, *block.writes)
    extents = [v.dom.extent for v in block.iter_vars] + [bounds.extent for a in accesses for bounds in a.region]
    return bool(block.iter_vars) and bool(block.writes) and _is_fixed(extents)


def _is_fixed(sizes: Iterable[Any]) -> bool:
    return all(isinstance(size, tvm.tirx.IntImm) for size in sizes)


def _touched_bytes(parameter: Any, blocks: list[Any]) -> int:
    """Size of the parameter, or of what the blocks access if that is less: a gather reads some rows of its table
    only.
    """
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

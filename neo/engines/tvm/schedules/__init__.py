"""TensorIR functions -> loops that fit the target. One file per family; the first that takes a function has it."""

from __future__ import annotations

import tvm
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import ScheduleError

from neo.contract.device import Target
from neo.engines.tvm.schedules.injective import schedule_injective
from neo.engines.tvm.schedules.reduction import schedule_reduction
from neo.engines.tvm.schedules.rows import schedule_rows

FAMILIES = (schedule_injective, schedule_reduction, schedule_rows)


def schedule_module(module: tvm.IRModule, target: Target) -> tuple[tvm.IRModule, tuple[str, ...]]:
    """-> (the module with every function scheduled that a family takes, the names of the others, left as they are)."""
    functions = dict(module.functions)
    left = []
    for variable, function in module.functions.items():
        if not isinstance(function, tvm.tirx.PrimFunc):
            continue
        scheduled = _schedule(function, target)
        if scheduled is None:
            left.append(variable.name_hint)
        else:
            functions[variable] = scheduled
    return tvm.IRModule(functions), tuple(sorted(left))


def _schedule(function: tvm.tirx.PrimFunc, target: Target) -> tvm.tirx.PrimFunc | None:
    for family in FAMILIES:
        schedule = Schedule(function)
        try:
            if family(schedule, target):
                return schedule.mod["main"]
        except ScheduleError:  # a shape of loops that the family did not foresee: correct, slow loops remain
            continue
    return None

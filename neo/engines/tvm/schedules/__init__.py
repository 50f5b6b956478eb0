"""TensorIR functions -> loops that fit the target. One file per family; the first that takes a function has it.

A family takes (schedule, target, the parameters it may have in another layout) and answers which of these it wants
packed how wide, or None if the function is not one of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import tvm
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import ScheduleError

from neo.contract.device import Target
from neo.engines.tvm.packing import Packings, Uses
from neo.engines.tvm.schedules.injective import schedule_injective
from neo.engines.tvm.schedules.reduction import schedule_reduction
from neo.engines.tvm.schedules.rows import schedule_rows
from neo.engines.tvm.schedules.winograd import schedule_winograd

FAMILIES = (schedule_winograd, schedule_injective, schedule_reduction, schedule_rows)


@dataclass(frozen=True, slots=True)
class Scheduled:
    """module: every function scheduled that a family takes. left: the names of the others, with their plain loops.
    packings: what callers have to pass in another layout.
    """

    module: tvm.IRModule
    left: tuple[str, ...]
    packings: Packings


def schedule_module(module: tvm.IRModule, target: Target, packable: Uses) -> Scheduled:
    functions = dict(module.functions)
    left = []
    packings: dict[str, Mapping[int, int]] = {}
    for variable, function in module.functions.items():
        if not isinstance(function, tvm.tirx.PrimFunc):
            continue
        name = variable.name_hint
        if "tirx.is_scheduled" in (function.attrs or {}):  # its loops were written for the purpose
            packings[name] = {}
            continue
        found = _schedule(function, target, frozenset(packable.get(name, ())))
        if found is None:
            left.append(name)
        else:
            functions[variable], packings[name] = found
    return Scheduled(tvm.IRModule(functions), tuple(sorted(left)), packings)


def _schedule(
    function: tvm.tirx.PrimFunc, target: Target, packable: frozenset[int]
) -> tuple[tvm.tirx.PrimFunc, Mapping[int, int]] | None:
    for family in FAMILIES:
        schedule = Schedule(function)
        try:
            packing = family(schedule, target, packable)
        except ScheduleError:  # a shape of loops that the family did not foresee: correct, slow loops remain
            continue
        if packing is not None:
            return schedule.mod["main"], packing
    return None

"""TensorIR functions -> loops that fit the target. One file per family of functions.

A family is a function (schedule, target, packable) -> packing. It applies its schedule and returns {parameter: width}:
which of the packable parameters are to be packed, and with how many columns in a panel. It returns None if the function
does not belong to the family. The first family in ``FAMILIES`` that takes a function is used. Tunable families have one
more parameter, the configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import tvm
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import ScheduleError

from neo.contract.device import Target
from neo.engines.tvm.cpu.schedules.amx import multiply_in_tiles
from neo.engines.tvm.cpu.schedules.amx_attention import attend_in_tiles
from neo.engines.tvm.cpu.schedules.attention import schedule_attention
from neo.engines.tvm.cpu.schedules.choice import reduction_configurations
from neo.engines.tvm.cpu.schedules.injective import schedule_injective
from neo.engines.tvm.cpu.schedules.packing import Packing, Packings, Uses, pack
from neo.engines.tvm.cpu.schedules.reduction import schedule_reduction
from neo.engines.tvm.cpu.schedules.rows import schedule_rows, schedule_sums
from neo.engines.tvm.cpu.schedules.winograd import schedule_winograd, winograd_configurations
from neo.engines.tvm.cpu.schedules.zeros import skip_zeros
from neo.engines.tvm.cpu.units.configuration import Configuration
from neo.engines.tvm.tvm_private import is_scheduled

FAMILIES = (schedule_attention, schedule_winograd, schedule_injective, schedule_sums, schedule_reduction, schedule_rows)
# (scheduled function, {parameter: width} of what has to be packed)
Found = tuple[tvm.tirx.PrimFunc, Mapping[int, int]]
Family = Callable[[Schedule, Target, frozenset[int]], Mapping[int, int] | None]
# tunable family -> its search space: (schedule, target) -> configurations, the default first
TUNABLE = {schedule_reduction: reduction_configurations, schedule_winograd: winograd_configurations}


@dataclass(frozen=True, slots=True)
class Scheduled:
    """The result of ``schedule_module``."""

    #: every function that a family takes is scheduled
    module: tvm.IRModule
    #: names of the other functions, which keep their plain loops
    left: tuple[str, ...]
    #: parameters that have to be passed packed
    packings: Packings
    #: does any function use AMX tiles?
    tiles: bool


def schedule_module(
    module: tvm.IRModule, target: Target, packable: Uses, configurations: Mapping[str, Configuration] | None = None
) -> Scheduled:
    """configurations: name of a function -> configuration that was measured for it; used if it fits the function."""
    functions = dict(module.functions)
    left = []
    tiles = False
    packings: dict[str, Mapping[int, Packing]] = {}
    for variable, function in module.functions.items():
        if not isinstance(function, tvm.tirx.PrimFunc):
            continue
        name = variable.name_hint
        if is_scheduled(function):  # hand-written loops
            packings[name] = {}
            continue
        weights, configuration = frozenset(packable.get(name, ())), (configurations or {}).get(name)
        tiled = _in_tiles(function, target, weights)
        if tiled is not None:
            functions[variable], packings[name] = tiled
            tiles = True
            continue
        found = None if configuration is None else schedule_by(configuration, function, target, weights)
        found = found or _schedule(function, target, weights)
        if found is None:
            left.append(name)
        else:
            functions[variable], widths = found
            packings[name] = {parameter: partial(pack, width=width) for parameter, width in widths.items()}
    return Scheduled(tvm.IRModule(functions), tuple(sorted(left)), packings, tiles)


def family_of(function: tvm.tirx.PrimFunc, target: Target, packable: frozenset[int]) -> str:
    """The tunable family that takes the function, a key of ``VERSIONS``; "" if none does."""
    family = _tunable_family(function, target, packable)
    return "" if family is None else family.__name__.removeprefix("schedule_")


def configurations_of(
    function: tvm.tirx.PrimFunc, target: Target, packable: frozenset[int]
) -> tuple[Configuration, ...]:
    """Configurations worth measuring, the default first; () if no tunable family takes the function."""
    family = _tunable_family(function, target, packable)
    return () if family is None else TUNABLE[family](Schedule(function), target)


def _tunable_family(function: tvm.tirx.PrimFunc, target: Target, packable: frozenset[int]) -> Any:
    if is_scheduled(function) or _in_tiles(function, target, packable) is not None:
        return None
    takes = (family for family in FAMILIES if _attempt(family, function, target, packable) is not None)
    family = next(takes, None)
    return family if family in TUNABLE else None


def schedule_by(
    configuration: Configuration, function: tvm.tirx.PrimFunc, target: Target, packable: frozenset[int]
) -> Found | None:
    """None if the configuration does not fit the function, or no tunable family takes it."""
    for family in FAMILIES:
        if _attempt(family, function, target, packable) is not None:
            if family not in TUNABLE:
                return None
            return _attempt(partial(family, configuration=configuration), function, target, packable)
    return None


def _in_tiles(
    function: tvm.tirx.PrimFunc, target: Target, packable: frozenset[int]
) -> tuple[tvm.tirx.PrimFunc, Mapping[int, Packing]] | None:
    """None if the function is not marked for AMX, or its epilogue does not fit our loops."""
    attention = attend_in_tiles(function, target)
    return multiply_in_tiles(function, target, packable) if attention is None else (attention, {})


def _schedule(function: tvm.tirx.PrimFunc, target: Target, packable: frozenset[int]) -> Found | None:
    attempts = (_attempt(family, function, target, packable) for family in FAMILIES)
    return next((found for found in attempts if found is not None), None)


def _attempt(family: Family, function: tvm.tirx.PrimFunc, target: Target, packable: frozenset[int]) -> Found | None:
    schedule = Schedule(function)
    try:
        packing = family(schedule, target, packable)
    except ScheduleError:  # unexpected loops: they stay as they are, correct but slow
        return None
    return None if packing is None else (skip_zeros(schedule.mod["main"]), packing)

"""``CpuBackend``: machine code from LLVM, in a shared library."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import tvm

from neo.contract.device import Target
from neo.contract.precision import BF16, FP32
from neo.engines.base import BuildRequest, check_computes
from neo.engines.tvm.cpu.codegen.host_passes import pipeline_of
from neo.engines.tvm.cpu.codegen.link import link
from neo.engines.tvm.cpu.codegen.sequence import compile_sequence
from neo.engines.tvm.cpu.lowering.graph import lower_graph
from neo.engines.tvm.cpu.lowering.recurrent import write_recurrence
from neo.engines.tvm.cpu.schedules import schedule_module
from neo.engines.tvm.cpu.schedules.costs import kernel_costs
from neo.engines.tvm.cpu.schedules.in_place import write_in_place
from neo.engines.tvm.cpu.schedules.packing import pack_weights, packable_weights
from neo.engines.tvm.cpu.tuning.cache import cache_at
from neo.engines.tvm.cpu.tuning.search import Tuner
from neo.engines.tvm.cpu.units.bfloat16 import Unit, unit_of
from neo.engines.tvm.cpu.units.llvm import check_processor, llvm_target
from neo.engines.tvm.ir.recurrence import Recurrence, RecurrenceKernel
from neo.engines.tvm.planning.stages import AssembledModule, LoweredModule, ScheduledModule
from neo.runtime.engine_folder import LIBRARY_FILE

#: precision -> function that gives a target's unit for it; None: the usual float32 instructions
MULTIPLIERS: dict[str, Callable[[Target], Unit | None]] = {FP32.name: lambda _: None, BF16.name: unit_of}


class CpuBackend:
    """See ``neo.engines.tvm.backend.Backend``."""

    def __init__(self, request: BuildRequest) -> None:
        target = request.target
        check_computes(target, request.precision)
        self._target = target
        self._unit = MULTIPLIERS[request.precision.name](target)
        self._llvm = llvm_target(target)
        check_processor(target, self._llvm)
        cache = None if request.tuning is None else cache_at(request.tuning)
        self._tuner = Tuner(target, self._llvm, cache, request.tune_s, unit=self._unit)

    def __enter__(self) -> CpuBackend:
        self._tuner.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self._tuner.__exit__(*raised)

    def write_recurrence(self, spec: Recurrence) -> RecurrenceKernel:
        return write_recurrence(spec, self._target)

    def lower(self, module: tvm.IRModule) -> LoweredModule:
        return LoweredModule(*lower_graph(module, self._target, self._llvm, self._unit))

    def schedule(self, lowered: LoweredModule) -> ScheduledModule:
        costs = kernel_costs(lowered.module)
        uses = packable_weights(lowered.module)
        weights_bytes = sum(array.nbytes for array in lowered.weights)
        configurations = self._tuner.configurations(lowered.module, uses, costs, weights_bytes)
        scheduled = schedule_module(lowered.module, self._target, uses, configurations)
        module, weights = pack_weights(scheduled.module, lowered.weights, uses, scheduled.packings)
        written = write_in_place(module, self._target)
        counted = {cost.name: cost for cost in costs}
        twins = (replace(counted[old], name=new) for new, old in written.twins.items() if old in counted)
        return ScheduledModule(written.module, weights, (*costs, *twins), scheduled.left, scheduled.tiles)

    def assemble(self, scheduled: ScheduledModule) -> AssembledModule:
        return compile_sequence(scheduled.module, self._llvm, pipeline_of(self._unit, self._target.cpu.cores))

    def link(self, assembled: AssembledModule, folder: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            link(assembled.code, self._target, folder / LIBRARY_FILE, Path(scratch))

    def notes(self) -> tuple[str, ...]:
        return self._tuner.notes()

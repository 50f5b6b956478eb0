"""The interface of compilers for a kind of hardware: processors today, GPUs beside them later.

A backend is a class in a package of its own, named by a row of ``BACKENDS``. ``build.py`` knows only ``Backend``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import tvm

from neo.contract.device import Target
from neo.engines.base import BuildRequest
from neo.engines.tvm.ir.recurrence import Recurrence, RecurrenceKernel
from neo.engines.tvm.planning.stages import AssembledModule, LoweredModule, ScheduledModule


class Backend(Protocol):
    """One build for one target. Its methods are called in this order, once for each part of the model that TVM
    compiles. A context manager, because measuring kernels may need processes of its own.

    Constructed with the BuildRequest. Raises EngineError then if the target does not support its precision, TargetError
    if the compiler does not know the target.
    """

    def __enter__(self) -> Backend: ...

    def __exit__(self, *raised: object) -> None: ...

    def write_recurrence(self, spec: Recurrence) -> RecurrenceKernel:
        """The kernel with which the importer replaces an LSTM, GRU or RNN."""

    def lower(self, module: tvm.IRModule) -> LoweredModule:
        """module: Relax operators as imported, with weights as constants."""

    def schedule(self, lowered: LoweredModule) -> ScheduledModule:
        """Optimise loops for the target, by measurements if there is time for them, and pack the weights."""

    def assemble(self, scheduled: ScheduledModule) -> AssembledModule:
        """Generate machine code. Raises EngineError if ``main`` does anything but call kernels."""

    def link(self, assembled: AssembledModule, folder: Path) -> None:
        """Write the files from which the device loads the code. Raises EngineError with the linker's message."""

    def notes(self) -> tuple[str, ...]:
        """For the report, after everything is built."""


@dataclass(frozen=True, slots=True)
class BackendRow:
    #: "module:class", imported when a target needs it
    factory: str
    #: does the target run its models on this hardware?
    takes: Callable[[Target], bool]


# the first row that takes the target is used; the last one takes every target
BACKENDS: Mapping[str, BackendRow] = {
    "cpu": BackendRow("neo.engines.tvm.cpu.backend:CpuBackend", lambda _target: True),
}


def open_backend(request: BuildRequest) -> Backend:
    """Raises as ``Backend`` says."""
    row = next(row for row in BACKENDS.values() if row.takes(request.target))
    module, _, name = row.factory.partition(":")
    factory = cast("Callable[[BuildRequest], Backend]", getattr(importlib.import_module(module), name))
    return factory(request)

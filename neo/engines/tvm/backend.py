"""What compiles for a kind of hardware, behind one face: processors today, and where GPUs will stand beside them.

A backend is a class of its own package, named by a row of ``BACKENDS``. ``build.py`` knows no more than ``Backend``.
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
    """One build for one target. The steps are taken in the order of the methods, once for each part of the model that
    TVM compiles. A context: what measures kernels may have processes of its own.

    Made from the BuildRequest; raises EngineError if the target does not compute in its precision, TargetError if the
    compiler does not know the target.
    """

    def __enter__(self) -> Backend: ...

    def __exit__(self, *raised: object) -> None: ...

    def write_recurrence(self, spec: Recurrence) -> RecurrenceKernel:
        """The kernel that the importer puts in an LSTM's, GRU's or RNN's place."""

    def lower(self, module: tvm.IRModule) -> LoweredModule:
        """module: Relax operators as imported; weights are constants in it."""

    def schedule(self, lowered: LoweredModule) -> ScheduledModule:
        """Loops that fit the target, measured where there is time, and weights in the order in which they are read."""

    def assemble(self, scheduled: ScheduledModule) -> AssembledModule:
        """Machine code. Raises EngineError for what is more than kernels and calls of them."""

    def link(self, assembled: AssembledModule, folder: Path) -> None:
        """Write the files that the device loads the code from. Raises EngineError with the linker's words."""

    def notes(self) -> tuple[str, ...]:
        """For the report, when all is built."""


@dataclass(frozen=True, slots=True)
class BackendRow:
    #: "module:class", imported when a target needs it
    factory: str
    #: does the target run its models on this hardware?
    takes: Callable[[Target], bool]


# the first row that takes the target has it; every target has a processor
BACKENDS: Mapping[str, BackendRow] = {
    "cpu": BackendRow("neo.engines.tvm.cpu.backend:CpuBackend", lambda _target: True),
}


def open_backend(request: BuildRequest) -> Backend:
    """Raises as ``Backend`` says."""
    row = next(row for row in BACKENDS.values() if row.takes(request.target))
    module, _, name = row.factory.partition(":")
    factory = cast("Callable[[BuildRequest], Backend]", getattr(importlib.import_module(module), name))
    return factory(request)

"""What a backend's steps hand on to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tvm
from numpy.typing import NDArray

from neo.runtime.engine_folder import KernelCost


@dataclass(frozen=True, slots=True)
class LoweredModule:
    """Kernels as plain loops."""

    #: ``main`` calls fused TensorIR functions and takes the weights behind its inputs
    module: tvm.IRModule
    weights: list[NDArray[Any]]


@dataclass(frozen=True, slots=True)
class ScheduledModule:
    """Kernels whose loops fit the target."""

    module: tvm.IRModule
    #: in the order in which the kernels read them
    weights: list[NDArray[Any]]
    costs: tuple[KernelCost, ...]
    #: names of functions that no schedule family takes: correct, and slow
    left: tuple[str, ...]
    #: does any kernel use the tiles of AMX, for which a process has to ask?
    tiles: bool


@dataclass(frozen=True, slots=True)
class AssembledModule:
    """Machine code, not yet a file."""

    #: for ``Backend.link``
    code: tvm.runtime.Module
    #: further weights, behind those of the scheduled module
    constants: list[NDArray[Any]]
    #: what is called, in this order
    kernels: tuple[str, ...]
    workspace_bytes: int
    #: (dtype, shape) of each
    outputs: tuple[tuple[str, tuple[int, ...]], ...]

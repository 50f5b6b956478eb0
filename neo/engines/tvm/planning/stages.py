"""The results that a backend's stages pass on to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tvm
from numpy.typing import NDArray

from neo.runtime.engine_folder import KernelCost


@dataclass(frozen=True, slots=True)
class LoweredModule:
    """Kernels as plain loops."""

    #: ``main`` calls fused TensorIR functions and takes the weights after its inputs
    module: tvm.IRModule
    weights: list[NDArray[Any]]


@dataclass(frozen=True, slots=True)
class ScheduledModule:
    """Kernels with loops that are optimised for the target."""

    module: tvm.IRModule
    #: in the order in which the kernels read them
    weights: list[NDArray[Any]]
    costs: tuple[KernelCost, ...]
    #: names of functions that no schedule family takes: they are correct, but slow
    left: tuple[str, ...]
    #: does any kernel use AMX? A process has to ask the operating system for its tiles
    tiles: bool


@dataclass(frozen=True, slots=True)
class AssembledModule:
    """Machine code in memory, not linked yet."""

    #: for ``Backend.link``
    code: tvm.runtime.Module
    #: further weights, which come after those of the scheduled module
    constants: list[NDArray[Any]]
    #: names of what is called, in execution order
    kernels: tuple[str, ...]
    workspace_bytes: int
    #: (dtype, shape) of each
    outputs: tuple[tuple[str, tuple[int, ...]], ...]

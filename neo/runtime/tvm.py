"""The tvm engine on a device: apache-tvm-ffi, the bundle's libtvm_runtime.so and numpy; no compiler.

The weights are mapped, not read: pages come from the file when they are first used and the kernel may drop them
again. The map is copy-on-write because DLPack has no read-only tensors that TVM takes; nothing ever writes to it.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo.contract.strings import STRING
from neo.contract.tensors import TensorSpec
from neo.errors import BundleError, EngineError
from neo.runtime.amx import ask_for_tiles
from neo.runtime.engine_folder import ALIGNMENT_BYTES, LIBRARY_FILE, RUNTIME_FILE, EngineFolder, WeightEntry

# tvm-ffi imports torch wherever it is installed, for conversions that are not used here: 1.3 s and 170 MB
_TORCH_IS_HIDDEN = "torch" not in sys.modules
if _TORCH_IS_HIDDEN:
    sys.modules["torch"] = None  # type: ignore[assignment]  # makes `import torch` fail, as documented for import
try:
    import tvm_ffi
finally:
    if _TORCH_IS_HIDDEN:
        del sys.modules["torch"]

FUNCTION = "main"
# the same, where that one cannot be watched
WATCHED = "watched"

_CPU, _POOLED_ALLOCATOR = 1, 2
_BIG_CORES_FIRST = 1


class TvmEngine:
    def __init__(self, folder: EngineFolder, module: Any, weights: list[NDArray[Any]]) -> None:
        self.inputs: tuple[TensorSpec, ...] = folder.inputs
        self.outputs: tuple[TensorSpec, ...] = folder.outputs
        machine = module["vm_load_executable"]()
        machine["vm_initialization"](_CPU, 0, _POOLED_ALLOCATOR)
        self._machine = machine
        self._function = machine[FUNCTION]
        # inputs are copied into buffers of the alignment that the code was compiled for
        self._buffers = [aligned_empty(spec) for spec in folder.inputs]
        self._arrays = weights
        self._arguments = [tvm_ffi.from_dlpack(array) for array in (*self._buffers, *weights)]

    def run(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        for buffer, array in zip(self._buffers, arrays, strict=True):
            np.copyto(buffer, array)
        # copied: the memory goes back to the engine's pool with the next call
        return [np.array(array) for array in self._call(self._arguments)]

    def run_in_place(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """As ``run``, without copies where the arrays allow it; what it returns is valid until the next call."""
        arguments = list(self._arguments)
        for index, array in enumerate(arrays):
            # DLPack does not hand out memory that may not be written
            if array.ctypes.data % ALIGNMENT_BYTES == 0 and array.flags.c_contiguous and array.flags.writeable:
                arguments[index] = tvm_ffi.from_dlpack(array)
            else:
                np.copyto(self._buffers[index], array)
        return self._call(arguments)

    def _call(self, arguments: list[Any]) -> list[NDArray[Any]]:
        try:
            result = self._function(*arguments)
        except (RuntimeError, ValueError, TypeError) as error:
            raise EngineError(f"tvm failed: {error}") from error
        tensors = [result] if isinstance(result, tvm_ffi.Tensor) else list(result)
        return [np.from_dlpack(tensor) for tensor in tensors]

    def observe(self, observer: Callable[..., None]) -> None:
        """observer: called as (function, its name, is it before the call?, its result, *its arguments) from now on."""
        if self._machine.implements_function(WATCHED):
            self._function = self._machine[WATCHED]
        self._machine["set_instrument"](tvm_ffi.convert(observer))

    def close(self) -> None:
        self._arguments = []
        self._arrays = []


def open_engine(folder: Path, description: EngineFolder, threads: int, runtime: Path | None = None) -> TvmEngine:
    """runtime: libtvm_runtime.so; None if it is in the folder."""
    if description.tiles and not ask_for_tiles():
        raise EngineError(
            f"{folder} was compiled for a processor with AMX, which this one, or the system on it, does not let us use",
            hint="compile the model for a target without AMX: --target x86-64-v4-bf16, or host on this machine",
        )
    # the pool is made at the first call and would take half of the cores otherwise: it believes in hyper-threads
    os.environ["TVM_NUM_THREADS"] = str(threads)
    try:
        _load_runtime_once(runtime or folder / RUNTIME_FILE)
        tvm_ffi.get_global_func("runtime.config_threadpool")(_BIG_CORES_FIRST, threads)
        module = tvm_ffi.load_module(str(folder / LIBRARY_FILE))
        weights = [_map_weight(folder, entry) for entry in description.weights]
        return TvmEngine(description, module, weights)
    except (OSError, RuntimeError, ValueError, AttributeError) as error:
        raise EngineError(f"tvm cannot load {folder / LIBRARY_FILE}: {error}") from error


def _load_runtime_once(path: Path) -> None:
    """Register TVM's runtime with tvm-ffi. A second copy in one process would register every function twice."""
    if "tvm" in sys.modules or tvm_ffi.get_global_func("runtime.config_threadpool", allow_missing=True) is not None:
        return
    ctypes.CDLL(str(path.resolve()), ctypes.RTLD_GLOBAL)


def _map_weight(folder: Path, entry: WeightEntry) -> NDArray[Any]:
    path = folder / entry.file
    dtype = np.dtype(entry.dtype)
    if entry.offset % ALIGNMENT_BYTES or entry.offset + math.prod(entry.shape) * dtype.itemsize > path.stat().st_size:
        raise BundleError(f"{path} does not hold {entry.dtype} {list(entry.shape)} at byte {entry.offset}")
    if 0 in entry.shape:
        return np.zeros(entry.shape, dtype)
    mapped = np.memmap(path, dtype=dtype, mode="c", offset=entry.offset, shape=entry.shape or (1,))
    return np.asarray(mapped).reshape(entry.shape)


def aligned_empty(spec: TensorSpec) -> NDArray[Any]:
    """Memory for one tensor that the compiled code takes as it is. Raises EngineError for dynamic shapes and words."""
    dims = [dim for dim in spec.shape if isinstance(dim, int)]
    if len(dims) != len(spec.shape):
        raise EngineError(f"the tvm engine has fixed shapes, and input {spec} has none")
    if spec.dtype == STRING:
        raise EngineError(f"the tvm engine has numbers only, and input {spec} has none")
    dtype = np.dtype(spec.dtype)
    size = math.prod(dims) * dtype.itemsize
    raw = np.zeros(size + ALIGNMENT_BYTES, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT_BYTES
    return raw[start : start + size].view(dtype).reshape(dims)

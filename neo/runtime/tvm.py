"""The tvm engine on a device: apache-tvm-ffi, the bundle's libtvm_runtime.so and numpy; no compiler.

The weights are mapped, not read: pages come from the file when they are first used and the kernel may drop them
again. The map is copy-on-write because DLPack has no read-only tensors that TVM takes; nothing ever writes to it.

All engines in one process share TVM's runtime library: the first one is loaded, and others are refused. They also share
a pool of worker threads for each calling thread. Its size is set before a call if another engine has changed it. A pool
never grows: an engine that needs more threads runs in a thread of its own, which has its own pool.
"""

from __future__ import annotations

import ctypes
import filecmp
import math
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
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

# the function of the library; see ``neo.engines.tvm.cpu.codegen.sequence``
STEPS = "steps"

_BIG_CORES_FIRST = 1


class _Pool(threading.local):
    """threads: that the calling thread's pool uses now; 0: not known."""

    threads = 0


class _Runtime:
    """loaded: the library that this module has loaded, None as long as there is none or TVM's own is here."""

    loaded: Path | None = None


_pool, _runtime = _Pool(), _Runtime()


class TvmEngine:
    """One set of buffers: not for several threads at a time."""

    def __init__(self, description: EngineFolder, module: Any, weights: list[NDArray[Any]], threads: int) -> None:
        self.inputs: tuple[TensorSpec, ...] = description.inputs
        self.outputs: tuple[TensorSpec, ...] = description.outputs
        self.steps = description.steps
        self._threads = threads
        self._caller: ThreadPoolExecutor | None = None
        self._function = module[STEPS]
        self._buffers = [aligned_empty(spec) for spec in description.inputs]
        self._results = [aligned_empty(spec) for spec in description.outputs]
        workspace = aligned_empty(TensorSpec("workspace", "uint8", (description.workspace,)))
        self._arrays = [*self._buffers, *weights, *self._results, workspace]
        self._table = aligned_empty(TensorSpec("table", "int64", (len(self._arrays),)))
        self._table[:] = [array.ctypes.data for array in self._arrays]
        self._argument = tvm_ffi.from_dlpack(self._table)

    def run(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        self.set_inputs(arrays)
        self.call(0, len(self.steps))
        return self.results()

    def set_inputs(self, arrays: list[NDArray[Any]]) -> None:
        """Where the next steps find the inputs."""
        for buffer, array in zip(self._buffers, arrays, strict=True):
            buffer[...] = array

    def call(self, first: int, last: int) -> None:
        """The steps of that range."""
        if not self._arrays:
            raise EngineError("the engine was closed")
        if _pool.threads == self._threads or _set_threads(self._threads):
            self._call(first, last)
        else:
            if self._caller is None:
                self._caller = ThreadPoolExecutor(1, "tvm", _set_threads, (self._threads,))
            self._caller.submit(self._call, first, last).result()

    def _call(self, first: int, last: int) -> None:
        try:
            self._function(self._argument, first, last)
        except (RuntimeError, ValueError, TypeError) as error:
            raise EngineError(f"tvm failed: {error}") from error

    def results(self) -> list[NDArray[Any]]:
        """Copies: the next call writes to the same memory."""
        return [result.copy() for result in self._results]

    def run_in_place(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """As ``run``, without copies of arrays that are as the code was compiled for; what it returns is valid until
        the next call.
        """
        own = self._table.copy()
        for index, (buffer, array) in enumerate(zip(self._buffers, arrays, strict=True)):
            fits = array.shape == buffer.shape and array.dtype == buffer.dtype and array.flags.c_contiguous
            if fits and array.ctypes.data % ALIGNMENT_BYTES == 0:
                self._table[index] = array.ctypes.data
            else:
                np.copyto(buffer, array)
        try:
            self.call(0, len(self.steps))
        finally:
            self._table[:] = own
        return self._results

    def close(self) -> None:
        # the addresses in the table become invalid
        self._arrays = []
        if self._caller is not None:
            self._caller.shutdown()
            self._caller = None


def open_engine(folder: Path, description: EngineFolder, threads: int, runtime: Path | None = None) -> TvmEngine:
    """runtime: libtvm_runtime.so; None if it is in the folder."""
    if description.tiles and not ask_for_tiles():
        raise EngineError(
            f"{folder} was compiled for a processor with AMX, which this one, or the system on it, does not let us use",
            hint="compile the model for a target without AMX: --target x86-64-v4-bf16, or host on this machine",
        )
    if not description.steps:
        raise BundleError(f"{folder} was compiled by an earlier version of neo-edge", hint="compile the model again")
    try:
        _load_runtime_once(runtime or folder / RUNTIME_FILE)
        _set_threads(threads)
        module = tvm_ffi.load_module(str(folder / LIBRARY_FILE))
        weights = [_map_weight(folder, entry) for entry in description.weights]
        return TvmEngine(description, module, weights, threads)
    except (OSError, RuntimeError, ValueError, AttributeError, MemoryError) as error:
        raise EngineError(f"tvm cannot load {folder / LIBRARY_FILE}: {error}") from error


def _load_runtime_once(path: Path) -> None:
    """Register TVM's runtime with tvm-ffi. A second copy in one process would register every function twice. Raises
    EngineError if another one than this is loaded: code and runtime fit each other by version.
    """
    first = _runtime.loaded
    if first is not None:
        if not _is_same_file(first, path):
            raise EngineError(
                f"{path} is another TVM runtime than {first}, which this process has loaded",
                hint="open the two models in processes of their own, or compile both with one version of neo-edge",
            )
        return
    if "tvm" in sys.modules or tvm_ffi.get_global_func("runtime.config_threadpool", allow_missing=True) is not None:
        return
    ctypes.CDLL(str(path.resolve()), ctypes.RTLD_GLOBAL)
    _runtime.loaded = path.resolve()


def _is_same_file(first: Path, second: Path) -> bool:
    """Bundles bring equal copies. The first may be gone by now; then nobody can tell."""
    return not first.exists() or first.samefile(second) or filecmp.cmp(first, second, shallow=False)


def _set_threads(threads: int) -> bool:
    """Of the calling thread's pool. False if it was made with fewer, which it has then."""
    # read when the pool is made, at first use; the default is half of the cores, as if all processors had hyper-threads
    os.environ["TVM_NUM_THREADS"] = str(threads)
    tvm_ffi.get_global_func("runtime.config_threadpool")(_BIG_CORES_FIRST, threads)
    _pool.threads = tvm_ffi.get_global_func("runtime.NumThreads")()
    return _pool.threads >= threads


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

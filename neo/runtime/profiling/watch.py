"""A copy of a bundle's engine whose runs are recorded, kernel by kernel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from neo.runtime.engine_folder import RUNTIME_FILE, EngineFolder
from neo.runtime.profiling.profile import KernelTime


class WatchedEngine(Protocol):
    """run: like an engine's; the first call warms up and is not recorded. kernels: the recorded times; ends the
    engine.
    """

    def run(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]: ...

    def kernels(self) -> tuple[KernelTime, ...]: ...


class WatchedSegments:
    """An engine whose graph is cut; its kernels are named ``<segment>: <kernel>``."""

    def __init__(self, folder: Path, description: EngineFolder, threads: int) -> None:
        self._description = description
        self._names = description.segments
        self._parts = [EngineFolder.read(folder / name) for name in self._names]
        self._engines = [
            _watch_part(folder / name, part, threads, folder / RUNTIME_FILE, spin=False)
            for name, part in zip(self._names, self._parts, strict=True)
        ]

    def run(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        tensors = {spec.name: array for spec, array in zip(self._description.inputs, arrays, strict=True)}
        for part, engine in zip(self._parts, self._engines, strict=True):
            made = engine.run([tensors[spec.name] for spec in part.inputs])
            tensors.update({spec.name: array for spec, array in zip(part.outputs, made, strict=True)})
        return [tensors[spec.name] for spec in self._description.outputs]

    def kernels(self) -> tuple[KernelTime, ...]:
        return tuple(
            replace(kernel, name=f"{Path(name).name}: {kernel.name}")
            for name, engine in zip(self._names, self._engines, strict=True)
            for kernel in engine.kernels()
        )


def watch(folder: Path, threads: int) -> WatchedEngine:
    """folder: an engine's that ``load_engine`` takes. Raises EngineError."""
    description = EngineFolder.read(folder)
    if description.segments:
        return WatchedSegments(folder, description, threads)
    return _watch_part(folder, description, threads, folder / RUNTIME_FILE, spin=True)


def _watch_part(folder: Path, description: EngineFolder, threads: int, runtime: Path, *, spin: bool) -> WatchedEngine:
    if description.engine == "tvm":
        from neo.runtime.profiling import tvm

        return tvm.WatchedTvm(folder, description, threads, runtime)
    from neo.runtime.profiling import onnxruntime

    return onnxruntime.WatchedOnnxRuntime(folder, description, threads, spin=spin)

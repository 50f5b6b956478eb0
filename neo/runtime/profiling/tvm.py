"""Kernel times of the tvm engine: the virtual machine of Relax calls an observer before and after every call it makes.

Its own functions (``vm.builtin``: memory, shapes) are no kernels. The shortest of them that the machine uses
everywhere, null_value, shows what being watched costs; that much is taken off every call.
"""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from neo.runtime.engine_folder import EngineFolder
from neo.runtime.profiling.profile import KernelTime
from neo.runtime.profiling.statistics import typical, typical_parts
from neo.runtime.tvm import open_engine

BUILTIN = "vm.builtin."
NOTHING = f"{BUILTIN}null_value"


class WatchedEngine:
    def __init__(self, folder: Path, description: EngineFolder, threads: int, runtime: Path) -> None:
        """runtime: libtvm_runtime.so."""
        self._description = description
        self._engine = open_engine(folder, description, threads, runtime)
        self._observer = _Observer()
        self._engine.observe(self._observer)

    def run(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        outputs = self._engine.run(arrays)
        self._observer.end_run()
        return outputs

    def kernels(self) -> tuple[KernelTime, ...]:
        self._engine.close()
        return _kernels(self._observer.runs[1:], self._description)


class _Observer:
    """runs: of each the seconds of every call, by name."""

    def __init__(self) -> None:
        self.runs: list[dict[str, list[float]]] = []
        self._calls: defaultdict[str, list[float]] = defaultdict(list)
        self._starts: list[float] = []

    def __call__(self, _function: Any, name: str, is_before: bool, *_result_and_arguments: Any) -> None:
        now = time.perf_counter()
        if is_before:
            self._starts.append(time.perf_counter())
            return
        elapsed = now - self._starts.pop()
        self._calls[name].append(elapsed)
        if self._starts:  # a call inside a call is not the outer one's time
            self._starts[-1] += elapsed

    def end_run(self) -> None:
        self.runs.append(dict(self._calls))
        self._calls.clear()


def _kernels(runs: list[dict[str, list[float]]], description: EngineFolder) -> tuple[KernelTime, ...]:
    nothing = [seconds for run in runs for seconds in run.get(NOTHING, [])]
    watching = typical(nothing) if nothing else 0.0
    times = typical_parts(
        [{name: sum(calls) for name, calls in run.items() if not name.startswith(BUILTIN)} for run in runs]
    )
    costs = {cost.name: cost for cost in description.kernels}
    kernels = []
    for name, seconds in times.items():
        calls = len(runs[-1].get(name, []))
        cost = costs.get(name)
        kernels.append(
            KernelTime(
                name,
                None,
                calls,
                max(seconds - calls * watching, 0.0) * 1e3,
                () if cost is None else cost.outputs,
                None if cost is None else calls * cost.flops,
                None if cost is None else calls * cost.moved_bytes,
            )
        )
    return tuple(kernels)

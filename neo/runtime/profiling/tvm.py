"""Kernel times of the tvm engine: its code is called for one step at a time.

The overhead of timing, the shortest time of a call without any step, is subtracted from every step.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from neo.runtime.engine_folder import EngineFolder
from neo.runtime.profiling.profile import KernelTime
from neo.runtime.profiling.statistics import typical_parts
from neo.runtime.tvm import open_engine


class WatchedTvm:
    def __init__(self, folder: Path, description: EngineFolder, threads: int, runtime: Path) -> None:
        """runtime: libtvm_runtime.so."""
        self._description = description
        self._engine = open_engine(folder, description, threads, runtime)
        # of each run the seconds of every step, by the name of its kernel
        self._runs: list[dict[str, list[float]]] = []
        self._watching = math.inf

    def run(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        self._engine.set_inputs(arrays)
        times: defaultdict[str, list[float]] = defaultdict(list)
        for index, kernel in enumerate(self._engine.steps):
            times[kernel].append(self._seconds(index, index + 1))
            self._watching = min(self._watching, self._seconds(0, 0))
        self._runs.append(dict(times))
        return self._engine.results()

    def _seconds(self, first: int, last: int) -> float:
        start = time.perf_counter()
        self._engine.call(first, last)
        return time.perf_counter() - start

    def kernels(self) -> tuple[KernelTime, ...]:
        self._engine.close()
        return _kernels(self._runs[1:], self._watching, self._description)


def _kernels(runs: list[dict[str, list[float]]], watching: float, description: EngineFolder) -> tuple[KernelTime, ...]:
    times = typical_parts([{name: sum(calls) for name, calls in run.items()} for run in runs])
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

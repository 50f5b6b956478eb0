"""Kernel times of the onnxruntime engine, from ONNX Runtime's own profile of a session.

The file is a list of events in Chrome's trace format; durations are whole microseconds. The event of a node ends in
``_kernel_time``, and ``model_run`` follows the nodes of a run. It does not list weights that ONNX Runtime has packed
for itself, so what a node computes and moves cannot be told from it.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from neo.runtime.engine_folder import EngineFolder
from neo.runtime.onnxruntime import OnnxRuntimeEngine, open_session
from neo.runtime.profiling.profile import KernelTime
from neo.runtime.profiling.statistics import typical_parts

NODE_SUFFIX = "_kernel_time"
RUN = "model_run"
# their time is that of the nodes inside them, which have events of their own
CONTROL_FLOW = ("If", "Loop", "Scan")

TraceEvent = dict[str, Any]


class WatchedOnnxRuntime:
    def __init__(self, folder: Path, description: EngineFolder, threads: int, *, spin: bool = True) -> None:
        """spin: as ``open_session`` takes it."""
        self._scratch = tempfile.TemporaryDirectory(prefix="neo-profile-")
        profile = Path(self._scratch.name) / "onnxruntime"
        self._session = open_session(folder, threads, spin=spin, profile=profile, extensions=description.extensions)
        self._engine = OnnxRuntimeEngine(self._session, description)

    def run(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        return self._engine.run(arrays)

    def kernels(self) -> tuple[KernelTime, ...]:
        events = json.loads(Path(self._session.end_profiling()).read_bytes())
        self._engine.close()
        self._scratch.cleanup()
        return _kernels(list(_runs(events))[1:])


def _runs(events: list[TraceEvent]) -> Iterator[list[TraceEvent]]:
    """-> the nodes of each run."""
    nodes: list[TraceEvent] = []
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith(NODE_SUFFIX):
            if event["args"]["op_name"] not in CONTROL_FLOW:
                nodes.append(event)
        elif event["name"] == RUN:
            yield nodes
            nodes = []


def _kernels(runs: list[list[TraceEvent]]) -> tuple[KernelTime, ...]:
    arguments = {node["name"]: node["args"] for nodes in runs for node in nodes}
    calls = Counter(node["name"] for node in runs[-1])
    return tuple(
        KernelTime(
            name.removesuffix(NODE_SUFFIX),
            arguments[name]["op_name"],
            calls[name],
            milliseconds,
            # an object for each output, its only key being the type
            tuple(tuple(shape) for output in arguments[name]["output_type_shape"] for shape in output.values()),
        )
        for name, milliseconds in typical_parts([_milliseconds(nodes) for nodes in runs]).items()
    )


def _milliseconds(nodes: list[TraceEvent]) -> dict[str, float]:
    sums: defaultdict[str, float] = defaultdict(float)
    for node in nodes:
        sums[node["name"]] += node["dur"] / 1e3
    return sums

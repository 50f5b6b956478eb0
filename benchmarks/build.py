"""Build one of our engines through the same steps as the pipeline, but not for longer than asked."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from neo.contract.precision import FP32, PRECISIONS
from neo.engines.base import BuildRequest
from neo.engines.confined import build_engine
from neo.frontends.onnx_file import interface
from neo.graph.confined import rewrite_confined
from neo.isolation import Limits
from neo.targets import HOST, load_target


@dataclass(frozen=True, slots=True)
class Build:
    """folder: the engine folder. seconds: rewriting the graph and building, from the start of the first process to
    the end of the last.
    """

    folder: Path
    seconds: float
    notes: tuple[str, ...]


def build(
    engine: str,
    onnx: Path,
    folder: Path,
    limit_s: float,
    *,
    precision: str = FP32.name,
    target: str = HOST,
    tune_s: float = 0.0,
) -> Build:
    """precision: a name in neo.contract.precision.PRECISIONS. folder: made here. tune_s: seconds for measuring
    configurations, on top of limit_s. Raises EngineError if the engine cannot build the model, ResourceLimitExceeded
    if it cannot within limit_s seconds.
    """
    folder.mkdir(parents=True)
    inputs, outputs = interface(onnx)
    limits = replace(Limits.of_this_machine(), seconds=limit_s)
    with tempfile.TemporaryDirectory(prefix="neo-bench-") as name:
        graph, scratch = Path(name) / "graph", Path(name) / "build"
        graph.mkdir()
        scratch.mkdir()
        start = time.perf_counter()
        rewritten = rewrite_confined(onnx, graph)
        request = BuildRequest(
            rewritten, load_target(target), inputs, outputs, folder, PRECISIONS[precision], tune_s=tune_s
        )
        built = build_engine(engine, request, scratch, limits)
        return Build(folder, time.perf_counter() - start, built.notes)

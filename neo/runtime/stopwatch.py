"""Times one engine in a process of its own, with the loader that the device uses.

``answer`` is called by ``neo.isolation`` in a confined process. Nothing but the runtime is imported here, so the peak
memory is the engine's.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from neo.contract.manifest import ENGINE_DIR
from neo.contract.parity import Parity, compare
from neo.runtime.golden import read_golden, read_special
from neo.runtime.load import Engine, load_engine

MEASURE_FILE = "measure.json"
WARM_UP_RUNS = 3
WARM_UP_S = 0.05
LEAST_RUNS = 5
MOST_RUNS = 2000


def stopwatch(folder: Path, threads: int, runs: int | None, seconds: float) -> dict[str, Any]:
    """runs: exactly that many, or None for as many as fit into seconds (at least 5). Times are in milliseconds."""
    samples = read_golden(folder)
    start = time.perf_counter()
    engine = load_engine(folder / ENGINE_DIR, threads)
    loaded = time.perf_counter()
    feeds = [[inputs[spec.name] for spec in engine.inputs] for inputs, _ in samples]
    names = [spec.name for spec in engine.outputs]
    answers = [dict(zip(names, engine.run(feeds[0]), strict=True))]
    first = time.perf_counter()
    answers += [dict(zip(names, engine.run(feed), strict=True)) for feed in feeds[1:]]
    parity = Parity(0.0, 0.0)
    for (_, expected), answer in zip(samples, answers, strict=True):
        parity = parity.worst(compare(expected, answer))
    times_ms = np.array(time_runs(engine, feeds, runs, seconds)) * 1e3
    peak_mb = peak_rss_mb()
    median, p90, p99 = (float(value) for value in np.percentile(times_ms, [50, 90, 99]))
    return {
        "load_ms": (loaded - start) * 1e3,
        "first_ms": (first - loaded) * 1e3,
        "median_ms": median,
        "p90_ms": p90,
        "p99_ms": p99,
        "runs": len(times_ms),
        "threads": threads,
        "peak_rss_mb": peak_mb,
        "parity": parity.to_json(),
        "special": {kind: found.to_json() for kind, found in _special(engine, folder).items()},
    }


def _special(engine: Engine, folder: Path) -> dict[str, Parity]:
    """Kind of special samples -> error of the engine's answers; infinite if the engine fails."""
    worst: dict[str, Parity] = {}
    names = [spec.name for spec in engine.outputs]
    for kind, inputs, expected in read_special(folder):
        try:
            answer = dict(zip(names, engine.run([inputs[spec.name] for spec in engine.inputs]), strict=True))
        except Exception:  # noqa: BLE001  # an engine's own exceptions share no base class
            answer = {}
        worst[kind] = worst.get(kind, Parity(0.0, 0.0)).worst(compare(expected, answer))
    return worst


def time_runs(engine: Engine, feeds: list[list[Any]], runs: int | None, seconds: float) -> list[float]:
    """Seconds of each run after some to warm up; runs and seconds as ``stopwatch`` takes them."""
    clock = time.perf_counter
    start = clock()
    warm_up = 0
    while warm_up < WARM_UP_RUNS or clock() - start < WARM_UP_S:
        engine.run(feeds[warm_up % len(feeds)])
        warm_up += 1
    times: list[float] = []
    start = clock()
    while len(times) < (runs or LEAST_RUNS) or (runs is None and clock() - start < seconds and len(times) < MOST_RUNS):
        feed = feeds[len(times) % len(feeds)]
        begin = clock()
        engine.run(feed)
        times.append(clock() - begin)
    return times


def peak_rss_mb() -> float:
    """Of this process image alone: ru_maxrss would count the parent's memory from before exec too."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def answer(scratch: Path) -> dict[str, Any]:
    """In the confined process: MEASURE_FILE in scratch has the arguments of ``stopwatch``; folder is a bundle's, with
    engine/ and golden samples.
    """
    asked = json.loads((scratch / MEASURE_FILE).read_bytes())
    return stopwatch(Path(asked["folder"]), asked["threads"], asked["runs"], asked["seconds"])

"""Profiles one engine in a process of its own; ``answer`` is called by ``neo.isolation`` in a confined process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from neo.contract.manifest import ENGINE_DIR
from neo.runtime.golden import read_golden
from neo.runtime.load import load_engine
from neo.runtime.profiling.profile import MOST_RUNS, Profile
from neo.runtime.profiling.roofline import measure_roofline
from neo.runtime.profiling.statistics import typical
from neo.runtime.profiling.watch import watch
from neo.runtime.stopwatch import MEASURE_FILE, time_runs

ROUNDS = 5
LEAST_RUNS = 5


def profile(folder: Path, threads: int, runs: int | None, seconds: float) -> Profile:
    """runs: number of profiled runs; None: as many as fit into seconds. As many are timed without profiling."""
    samples = read_golden(folder)
    engine = load_engine(folder / ENGINE_DIR, threads)
    feeds = [[inputs[spec.name] for spec in engine.inputs] for inputs, _ in samples]
    roofline = measure_roofline(threads)
    estimate = typical(time_runs(engine, feeds, LEAST_RUNS, 0.0))
    count = runs or min(max(LEAST_RUNS, int(seconds / estimate)), MOST_RUNS)
    watched = watch(folder / ENGINE_DIR, threads)
    watched.run(feeds[0])
    times: list[float] = []
    # in turn, so that a machine that becomes slower affects both
    for share in np.array_split(np.arange(count), min(ROUNDS, count)):
        times += time_runs(engine, feeds, len(share), 0.0)
        for run in share:
            watched.run(feeds[run % len(feeds)])
    longest_first = tuple(sorted(watched.kernels(), key=lambda kernel: -kernel.ms))
    return Profile(threads, count, typical(times) * 1e3, roofline, longest_first)


def answer(scratch: Path) -> dict[str, Any]:
    """In the confined process: MEASURE_FILE in scratch has the arguments of ``profile``."""
    asked = json.loads((scratch / MEASURE_FILE).read_bytes())
    return profile(Path(asked["folder"]), asked["threads"], asked["runs"], asked["seconds"]).to_json()

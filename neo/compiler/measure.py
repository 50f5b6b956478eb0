"""Latency, memory and parity of built engines: each in its own process, in turn, so that a noisy machine hits all."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neo.contract.parity import Parity
from neo.errors import EngineError, NeoError
from neo.runtime.profiling.profile import Profile

TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Measurement:
    """Times in milliseconds; load: opening the engine, first: the first prediction. peak_rss_mb: MiB of the process.
    parity: against the golden samples, the worst of them.
    """

    median_ms: float
    p90_ms: float
    p99_ms: float
    load_ms: float
    first_ms: float
    peak_rss_mb: float
    runs: int
    threads: int
    parity: Parity

    def to_json(self) -> dict[str, Any]:
        return {
            "median_ms": self.median_ms,
            "p90_ms": self.p90_ms,
            "p99_ms": self.p99_ms,
            "load_ms": self.load_ms,
            "first_ms": self.first_ms,
            "peak_rss_mb": self.peak_rss_mb,
            "runs": self.runs,
            "threads": self.threads,
            "parity": self.parity.to_json(),
        }


def measure(folder: Path, threads: int, *, runs: int | None = None, seconds: float = 0.5) -> Measurement:
    """folder: with engine/ and golden samples. Raises EngineError if the engine fails, or takes its process with it."""
    fields = {"folder": str(folder.resolve()), "threads": threads, "runs": runs, "seconds": seconds}
    return _parse(_in_own_process("neo.runtime.stopwatch", fields))


def profile(folder: Path, threads: int, *, runs: int | None = None, seconds: float = 1.0) -> Profile:
    """The time of every kernel; folder, errors: as for ``measure``. runs: at most ``MOST_RUNS``."""
    fields = {"folder": str(folder.resolve()), "threads": threads, "runs": runs, "seconds": seconds}
    # numpy's BLAS is the yardstick, and takes every core unless it is told before numpy is imported
    limits = {f"{library}_NUM_THREADS": str(threads) for library in ("OPENBLAS", "MKL", "OMP", "BLIS")}
    return Profile.from_json(_in_own_process("neo.runtime.profiling", fields, limits))


def _in_own_process(
    module: str, fields: Mapping[str, Any], environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run module with a request file of fields and the file for its answer as ``result``; -> the answer."""
    with tempfile.TemporaryDirectory(prefix="neo-measure-") as scratch:
        request, result = Path(scratch) / "request.json", Path(scratch) / "result.json"
        request.write_text(json.dumps({**fields, "result": str(result)}), encoding="utf-8")
        command = [sys.executable, "-m", module, str(request)]
        variables = {**os.environ, **(environment or {})}
        try:
            # `python -m` looks for modules in the current folder first; in the user's there might be a random.py
            done = subprocess.run(
                command, capture_output=True, check=False, timeout=TIMEOUT_S, cwd=scratch, env=variables
            )
        except subprocess.TimeoutExpired as error:
            raise EngineError(f"the engine took more than {TIMEOUT_S:.0f} s to be measured") from error
        if done.returncode or not result.is_file():
            raise EngineError(f"the engine's process {_ending(done.returncode)}: {_last_words(done.stderr)}")
        answer: dict[str, Any] = json.loads(result.read_bytes())
    if "error" in answer:
        raise NeoError.from_json(answer)
    return answer


def measure_in_turn(folders: Mapping[str, Path], threads: int, rounds: int = 3) -> dict[str, Measurement | NeoError]:
    """Every engine once per round; -> the median over the rounds, or what made the engine fail."""
    results: dict[str, list[Measurement]] = {name: [] for name in folders}
    failed: dict[str, NeoError] = {}
    for _ in range(rounds):
        for name, folder in folders.items():
            if name not in failed:
                try:
                    results[name].append(measure(folder, threads))
                except NeoError as error:
                    failed[name] = error
    return {name: failed.get(name) or _median(rows) for name, rows in results.items()}


def _ending(returncode: int) -> str:
    if returncode >= 0:
        return f"ended with code {returncode}"
    try:
        return f"was killed by {signal.Signals(-returncode).name}"
    except ValueError:  # a real-time signal has no name
        return f"was killed by signal {-returncode}"


def _last_words(stderr: bytes) -> str:
    return stderr.decode(errors="replace").strip()[-500:] or "it said nothing"


def _median(rows: list[Measurement]) -> Measurement:
    def middle(values: list[float]) -> float:
        return float(statistics.median(values))

    parity = rows[0].parity
    for row in rows[1:]:
        parity = parity.worst(row.parity)
    return Measurement(
        middle([row.median_ms for row in rows]),
        middle([row.p90_ms for row in rows]),
        middle([row.p99_ms for row in rows]),
        middle([row.load_ms for row in rows]),
        middle([row.first_ms for row in rows]),
        max(row.peak_rss_mb for row in rows),
        sum(row.runs for row in rows),
        rows[0].threads,
        parity,
    )


def _parse(answer: dict[str, Any]) -> Measurement:
    parity = answer["parity"]
    distances = (np.inf if parity[key] is None else float(parity[key]) for key in ("max_abs", "max_rel"))
    numbers = {key: answer[key] for key in ("median_ms", "p90_ms", "p99_ms", "load_ms", "first_ms", "peak_rss_mb")}
    return Measurement(**numbers, runs=answer["runs"], threads=answer["threads"], parity=Parity(*distances))

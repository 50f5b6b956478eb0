"""Latency, memory and parity of built engines: each in a confined process, in turn: a noisy machine hits all."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from neo.contract.parity import Parity
from neo.errors import DiskFull, EngineError, NeoError
from neo.isolation import Limits, isolated
from neo.isolation.call import Work
from neo.isolation.scratch import scratch_folder
from neo.runtime.profiling.profile import Profile
from neo.runtime.stopwatch import MEASURE_FILE

TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Measurement:
    """One engine, timed in a process of its own. Times in milliseconds."""

    #: Of a prediction.
    median_ms: float
    p90_ms: float
    p99_ms: float
    #: To open the engine.
    load_ms: float
    #: The first prediction.
    first_ms: float
    #: The most memory that the process held, in MiB.
    peak_rss_mb: float
    #: How many predictions were timed.
    runs: int
    threads: int
    #: Against the golden samples, the worst of them.
    parity: Parity
    #: Against special samples, by their kind.
    special: Mapping[str, Parity] = field(default_factory=dict)

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
            "special": {kind: parity.to_json() for kind, parity in self.special.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Measurement:
        """What ``to_json`` wrote, or a stopwatch answered."""
        names = ("median_ms", "p90_ms", "p99_ms", "load_ms", "first_ms", "peak_rss_mb", "runs", "threads")
        special = {kind: Parity.from_json(parity) for kind, parity in value["special"].items()}
        return cls(**{name: value[name] for name in names}, parity=Parity.from_json(value["parity"]), special=special)


def measure(folder: Path, threads: int, *, runs: int | None = None, seconds: float = 0.5) -> Measurement:
    """folder: with engine/ and golden samples, perhaps special ones beside it.

    Raises EngineError if the engine fails or takes its process with it, ResourceLimitExceeded.
    """
    asked = {"folder": str(folder.resolve()), "threads": threads, "runs": runs, "seconds": seconds}
    return Measurement.from_json(_confined("neo.runtime.stopwatch:answer", asked))


def profile(folder: Path, threads: int, *, runs: int | None = None, seconds: float = 1.0) -> Profile:
    """The time of every kernel; folder, errors: as for ``measure``. runs: at most ``MOST_RUNS``."""
    asked = {"folder": str(folder.resolve()), "threads": threads, "runs": runs, "seconds": seconds}
    # numpy's BLAS is the yardstick, and takes every core unless it is told before numpy is imported
    limits = {f"{library}_NUM_THREADS": str(threads) for library in ("OPENBLAS", "MKL", "OMP", "BLIS")}
    return Profile.from_json(_confined("neo.runtime.profiling.answer:answer", asked, limits))


def _confined(entry: str, asked: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The engine's code is as foreign as the model it was built from: it runs as confined as the conversion."""
    work = Work(entry, "running the engine", EngineError)
    with scratch_folder("neo-measure-") as scratch:
        # in ASCII: a path may have bytes that are no UTF-8
        (scratch / MEASURE_FILE).write_text(json.dumps(asked), encoding="ascii")
        return isolated(work, scratch, replace(Limits.of_this_machine(), seconds=TIMEOUT_S), environment)


def measure_in_turn(folders: Mapping[str, Path], threads: int, rounds: int = 3) -> dict[str, Measurement | NeoError]:
    """Every engine once per round; -> the median over the rounds, or what made the engine fail."""
    results: dict[str, list[Measurement]] = {name: [] for name in folders}
    failed: dict[str, NeoError] = {}
    for _ in range(rounds):
        for name, folder in folders.items():
            if name not in failed:
                try:
                    results[name].append(measure(folder, threads))
                except DiskFull:  # says nothing about the engine
                    raise
                except NeoError as error:
                    failed[name] = error
    return {name: failed.get(name) or _median(rows) for name, rows in results.items()}


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
        rows[0].special,
    )

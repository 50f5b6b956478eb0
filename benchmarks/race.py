"""Measure several engines on one model beside each other: loaded all, running one at a time, in turn."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.engine_process import ROOT, EngineProcess, Opening, Round
from neo.contract.parity import Parity
from neo.errors import NeoError


@dataclass(frozen=True, slots=True)
class Entry:
    #: a key of ``benchmarks.worker.OPENERS``
    library: str
    #: what the library opens
    path: Path
    #: a folder with golden samples
    samples: Path
    precision: str
    #: of the code that opens and runs it
    tree: Path = ROOT


@dataclass(frozen=True, slots=True)
class Pace:
    """limit_s: how long an engine may be silent, while it loads or measures, before it is out. clock: a key of
    ``benchmarks.worker.CLOCKS``.
    """

    rounds: int = 5
    seconds: float = 1.0
    limit_s: float = 300.0
    clock: str = "wall"


@dataclass(frozen=True, slots=True)
class Timing:
    """median_ms: of the medians of the rounds, which are round_ms. peak_rss_mb: MiB. parity: with the samples."""

    median_ms: float
    round_ms: tuple[float, ...]
    load_ms: float
    first_ms: float
    peak_rss_mb: float
    parity: Parity

    def to_json(self) -> dict[str, Any]:
        return {
            "median_ms": self.median_ms,
            "round_ms": list(self.round_ms),
            "load_ms": self.load_ms,
            "first_ms": self.first_ms,
            "peak_rss_mb": self.peak_rss_mb,
            "parity": self.parity.to_json(),
        }


def race(entries: Mapping[str, Entry], threads: int, pace: Pace) -> dict[str, Timing | NeoError]:
    """Every engine once per round, each round begun by another; -> how it did, or why it is out."""
    out: dict[str, NeoError] = {}
    running: dict[str, EngineProcess] = {}
    rounds: dict[str, list[Round]] = {name: [] for name in entries}
    with ExitStack() as stack:
        for name, entry in entries.items():
            try:
                process = EngineProcess(
                    entry.library,
                    entry.path,
                    entry.samples,
                    threads,
                    entry.precision,
                    pace.limit_s,
                    tree=entry.tree,
                )
                running[name] = stack.enter_context(closing(process))
            except NeoError as error:
                out[name] = error
        for number in range(pace.rounds):
            order = list(running)
            first = number % len(order) if order else 0
            for name in order[first:] + order[:first]:
                try:
                    rounds[name].append(running[name].measure(pace.seconds, pace.clock))
                except NeoError as error:
                    out[name] = error
                    # at once: a run that hangs would take the cores from the others
                    running.pop(name).close()
    return {name: out.get(name) or _summary(running[name].opening, rounds[name]) for name in entries}


def _summary(opening: Opening, rounds: list[Round]) -> Timing:
    medians = tuple(statistics.median(one.times_ms) for one in rounds)
    return Timing(
        statistics.median(medians),
        medians,
        opening.load_ms,
        opening.first_ms,
        max(one.peak_rss_mb for one in rounds),
        opening.parity,
    )

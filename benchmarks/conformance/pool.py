"""The parent's end of benchmarks.conformance.worker: as many as there are jobs, each replaced when it dies or hangs."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.conformance.outcome import AUTO, CONVERSION, CRASHED, PEER, TIMED_OUT, Outcome, auto_outcome

_MEMORY_GIB = "6"
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Result:
    """outcomes: by PEER, CONVERSION, the engines and AUTO."""

    kind: str
    name: str
    outcomes: dict[str, Outcome]

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "name": self.name,
            "outcomes": {who: outcome.to_json() for who, outcome in self.outcomes.items()},
        }


class _Died(Exception):
    """The worker said nothing more; the argument is the status of what it was doing."""


@dataclass(slots=True)
class _Worker:
    engines: Sequence[str]
    limit_s: float
    scratch: tempfile.TemporaryDirectory[str] = field(
        default_factory=lambda: tempfile.TemporaryDirectory(prefix="neo-conformance-")
    )
    process: subprocess.Popen[bytes] | None = None
    lines: queue.SimpleQueue[bytes] = field(default_factory=queue.SimpleQueue)

    def run(self, kind: str, name: str) -> dict[str, Outcome]:
        """What the worker tells of the case; an engine that takes it down is the last one told of, so the rest is
        asked for again without it.
        """
        order = [PEER, CONVERSION, *self.engines]
        outcomes: dict[str, Outcome] = {}
        try:
            self._ask(kind, name, outcomes)
        except _Died as death:
            status, said = death.args
            guilty = next(who for who in order if who not in outcomes)
            outcomes[guilty] = Outcome(status, said)
            self.stop()
        if outcomes.get(CONVERSION, Outcome("")).passed:
            for engine in self.engines:
                outcomes.setdefault(engine, Outcome(CRASHED, "not tried: an engine before it crashed"))
        return outcomes

    def _ask(self, kind: str, name: str, outcomes: dict[str, Outcome]) -> None:
        process = self._started()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps({"kind": kind, "name": name}).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError as error:
            raise _Died(CRASHED, "the worker ended between two cases") from error
        while told := json.loads(self._line(process)):
            outcomes[told.pop("who")] = Outcome.from_json(told)

    def _started(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            command = [sys.executable, "-m", "benchmarks.confined", _MEMORY_GIB, "benchmarks.conformance.worker"]
            command += [self.scratch.name, ",".join(self.engines)]
            self.process = subprocess.Popen(
                command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            self.lines = queue.SimpleQueue()
            threading.Thread(target=_read, args=(self.process, self.lines), daemon=True).start()
        return self.process

    def _line(self, process: subprocess.Popen[bytes]) -> bytes:
        try:
            line = self.lines.get(timeout=self.limit_s)
        except queue.Empty as error:
            raise _Died(TIMED_OUT, f"no answer within {self.limit_s:g} s") from error
        if not line:
            raise _Died(CRASHED, f"its process ended with code {process.wait()}")
        return line

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def _read(process: subprocess.Popen[bytes], lines: queue.SimpleQueue[bytes]) -> None:
    """Line by line, and an empty one at the end."""
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
    lines.put(b"")


def run_cases(cases: Sequence[tuple[str, str]], engines: Sequence[str], jobs: int, limit_s: float) -> Iterator[Result]:
    """Results as they come in, in no order. limit_s: for one engine, or the conversion, of one case."""
    waiting: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
    for case in cases:
        waiting.put(case)
    results: queue.SimpleQueue[Result | Exception] = queue.SimpleQueue()
    threads = [
        threading.Thread(target=_serve, args=(waiting, results, engines, limit_s), daemon=True) for _ in range(jobs)
    ]
    for thread in threads:
        thread.start()
    for _ in cases:
        result = results.get()
        if isinstance(result, Exception):
            raise result
        yield result
    for thread in threads:
        thread.join()


def _serve(
    waiting: queue.SimpleQueue[tuple[str, str]],
    results: queue.SimpleQueue[Result | Exception],
    engines: Sequence[str],
    limit_s: float,
) -> None:
    worker = _Worker(engines, limit_s)
    try:
        while True:
            try:
                kind, name = waiting.get_nowait()
            except queue.Empty:
                return
            results.put(Result(kind, name, _with_auto(worker.run(kind, name), engines)))
    except Exception as error:  # noqa: BLE001  # for the thread that waits for the results
        results.put(error)
    finally:
        worker.stop()
        worker.scratch.cleanup()


def _with_auto(outcomes: dict[str, Outcome], engines: Sequence[str]) -> dict[str, Outcome]:
    peer = outcomes[PEER]
    conversion = outcomes.get(CONVERSION, Outcome(peer.status, f"ONNX Runtime alone: {peer.reason}"))
    told = {engine: outcomes[engine] for engine in engines if engine in outcomes}
    return {**outcomes, AUTO: auto_outcome(conversion, told)}

"""The parent's end of benchmarks.worker."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neo.contract.parity import Parity
from neo.errors import EngineError

# the benchmarks are not installed: `-m benchmarks.worker` is found from here
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Opening:
    """What a worker says once it has loaded its model and answered the golden samples."""

    load_ms: float
    first_ms: float
    parity: Parity


@dataclass(frozen=True, slots=True)
class Round:
    """times_ms: every run of one round. peak_rss_mb: MiB, of the process since its start."""

    times_ms: tuple[float, ...]
    peak_rss_mb: float


class EngineProcess:
    """Raises EngineError, here and in ``measure``, if the engine fails, dies or stays silent for limit_s seconds.

    tree: the checkout whose code runs.
    """

    def __init__(  # noqa: PLR0917
        self,
        library: str,
        path: Path,
        samples: Path,
        threads: int,
        precision: str,
        limit_s: float,
        *,
        tree: Path = ROOT,
    ) -> None:
        self._limit_s = limit_s
        # libraries may say a lot: a pipe that nobody reads would fill up and stop them
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # closed in close
        request = {"library": library, "path": str(path), "samples": str(samples)}
        self._child = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "benchmarks.worker",
                json.dumps({**request, "threads": threads, "precision": precision}),
            ],
            cwd=tree,
            # of that tree first, wherever the installed package comes from
            env={**os.environ, "PYTHONPATH": str(tree)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
        )
        try:
            answer = self._answer()
            distances = (np.inf if value is None else float(value) for value in answer["parity"].values())
            self.opening = Opening(answer["load_ms"], answer["first_ms"], Parity(*distances))
        except BaseException:  # also Ctrl-C must not leave the process behind
            self.close()
            raise

    def measure(self, seconds: float, clock: str = "wall") -> Round:
        """Run the model for about so long, at least three times. clock: a key of ``benchmarks.worker.CLOCKS``."""
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps({"seconds": seconds, "clock": clock}).encode() + b"\n")
            self._child.stdin.flush()
        except BrokenPipeError as error:
            raise EngineError(self._obituary()) from error
        answer = self._answer()
        return Round(tuple(answer["times_ms"]), answer["peak_rss_mb"])

    @property
    def pid(self) -> int:
        return self._child.pid

    def close(self) -> None:
        """May be called again."""
        if not self._said.closed:
            self._child.kill()
            self._child.communicate()
            self._said.close()

    def _answer(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._line())
        if "failed" in answer:
            raise EngineError(answer["failed"])
        return answer

    def _line(self) -> bytes:
        assert self._child.stdout is not None
        deadline, line = time.monotonic() + self._limit_s, b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._child.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(deadline - time.monotonic()):
                    raise EngineError(f"no answer within {self._limit_s:.0f} s", hint="--limit gives it more")
                # what the pipe holds, not what the buffer would like to have
                part = self._child.stdout.read1()  # type: ignore[attr-defined]
                if not part:
                    raise EngineError(self._obituary())
                line += part
        return line

    def _obituary(self) -> str:
        code = self._child.wait()
        self._said.seek(0)
        said = self._said.read().decode(errors="replace").strip()[-500:]
        return f"the engine's process ended with code {code}: {said}"

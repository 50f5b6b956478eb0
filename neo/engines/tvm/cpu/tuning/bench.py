"""The parent's end of ``worker``: compiles one kernel at a time in every configuration, checks and times it."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm
import tvm_ffi
from tvm.s_tir import Schedule

from neo.engines.tvm.cpu.schedules import Found
from neo.engines.tvm.cpu.schedules.loops import blocks_of
from neo.engines.tvm.cpu.units.bfloat16 import Unit

# for compiling and timing all trials of a kernel, on a slow device
LIMIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was measured of one kernel."""

    #: index of the fastest trial
    best: int
    #: how many times as fast as the first trial
    gain: float
    #: of one call
    microseconds: float
    #: trials that crashed or gave another answer than the first
    out: tuple[int, ...]


class Bench:
    """A context manager. Its worker process is started on demand, and again after a crash."""

    def __init__(
        self, llvm: tvm.target.Target, threads: int, limit_s: float = LIMIT_S, unit: Unit | None = None
    ) -> None:
        self._llvm = llvm
        self._threads = threads
        self._unit = unit
        self._limit_s = limit_s
        self._environment = {**os.environ, "TVM_NUM_THREADS": str(threads)}
        self._folder = tempfile.TemporaryDirectory(prefix="neo-tune-")
        self._child: subprocess.Popen[bytes] | None = None
        self._pending = b""

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stop()
        self._folder.cleanup()

    def measure(
        self, function: tvm.tirx.PrimFunc, trials: Sequence[Found], weights: frozenset[int], pool_bytes: int
    ) -> Outcome | None:
        """trials: the function as scheduled in each configuration. weights: the parameters that may be packed.
        pool_bytes: how many bytes of weights the model reads between two uses of the same weight.

        None if the first trial cannot be measured, or not within the time limit.
        """
        path = Path(self._folder.name) / "kernel.json"
        path.write_text(self._describe(function, trials, weights), encoding="utf-8")
        out: list[int] = []
        while True:
            running: int | None = None
            try:
                for said in self._ask({"kernel": str(path), "pool_bytes": pool_bytes, "skip": out}):
                    if "failed" in said:
                        return None
                    if "running" in said:
                        running = said["running"]
                    else:
                        return Outcome(said["best"], said["gain"], said["microseconds"], (*out, *said["wrong"]))
            except TimeoutError:
                self._stop()
                return None
            self._stop()  # it crashed
            if not running or running in out:  # before any trial, in the first one, or while all were timed
                return None
            out.append(running)

    def _ask(self, request: Mapping[str, Any]) -> Any:
        """The worker's lines, until its output ends. Raises TimeoutError."""
        child = self._child or self._start()
        assert child.stdin is not None  # noqa: S101  # Popen was given PIPE
        deadline = time.monotonic() + self._limit_s
        with suppress(BrokenPipeError):
            child.stdin.write(json.dumps(request).encode() + b"\n")
            child.stdin.flush()
        while (line := self._line(child, deadline)) is not None:
            yield json.loads(line)

    def _line(self, child: subprocess.Popen[bytes], deadline: float) -> bytes | None:
        """None at the end of the worker's output."""
        assert child.stdout is not None  # noqa: S101
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            while b"\n" not in self._pending:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError
                part = os.read(child.stdout.fileno(), 1 << 16)
                if not part:
                    return None
                self._pending += part
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def _start(self) -> subprocess.Popen[bytes]:
        self._pending = b""
        self._child = subprocess.Popen(
            [sys.executable, "-m", "neo.engines.tvm.cpu.tuning.worker"],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return self._child

    def _stop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def _describe(self, function: tvm.tirx.PrimFunc, trials: Sequence[Found], weights: frozenset[int]) -> str:
        """The kernel and its trials, in the form that ``worker`` reads."""
        schedule = Schedule(function)
        written = [write.source for block in blocks_of(schedule) for write in schedule.get(block).writes]
        functions = {
            f"trial_{index}": scheduled.with_attr("global_symbol", f"trial_{index}")
            for index, (scheduled, _) in enumerate(trials)
        }
        operands = [{"dtype": str(p.dtype), "shape": [int(dim) for dim in p.shape]} for p in function.params]
        results = [i for i, p in enumerate(function.params) if any(p.same_as(buffer) for buffer in written)]
        description = {
            "target": self._llvm,
            "threads": self._threads,
            "unit": "" if self._unit is None else self._unit.name,
            "module": tvm.IRModule(functions),
            "operands": operands,
            "weights": sorted(weights),
            "results": results,
            "packings": [{str(position): width for position, width in packing.items()} for _, packing in trials],
        }
        return str(tvm.ir.save_json(tvm_ffi.convert(description)))

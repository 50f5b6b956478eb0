"""One kernel in several configurations: compiled, compared with the first and timed.

``python -m neo.engines.tvm.cpu.tuning.worker`` runs in a process of its own, because what is tried may crash. It reads
and writes JSON lines. A request is {"kernel", "pool_bytes", "skip"}: a file that ``bench`` wrote, the bytes of weights
that the model reads between two uses of the same weight, and the trials to leave out. Before each trial it writes
{"running": index}, so that a crash can be blamed on one; null means that all of them run, in turn. The answer is
{"best", "gain", "microseconds", "wrong"} or {"failed": why}.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from numpy.typing import NDArray

from neo.contract.tensors import TensorSpec
from neo.engines.tvm.cpu.codegen.host_passes import pipeline_of
from neo.engines.tvm.cpu.schedules.packing import pack
from neo.engines.tvm.cpu.units.bfloat16 import STORAGE, UNITS, encode, encode_pairs
from neo.runtime.tvm import aligned_empty

# a sample is as many calls as take this long
SAMPLE_S = 0.003
FEWEST_CALLS, MOST_CALLS = 5, 1000
ROUNDS = 6
DUELS = 21
# times the best: a trial that is slower than that is left out of the next round
STILL_IN = 1.3
# a configuration that is less than this much faster may owe it to noise: the default is kept
LEAST_GAIN = 1.03
# relative to the largest element: all configurations add in the same order, but LLVM may contract differently (FMA)
MOST_DIFFERENCE = 1e-4
MOST_COPIES = 64

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Trial:
    """A kernel in one configuration, ready to be timed."""

    index: int
    #: makes one call; each turn reads another copy of the weights, so that they come from memory as they do in a model
    run: Callable[[int], None]


class CompiledKernel:
    """All configurations of one kernel, compiled together. description: what ``bench`` wrote."""

    def __init__(self, description: Any, pool_bytes: int) -> None:
        self._specs = [
            TensorSpec("operand", str(operand["dtype"]), tuple(int(dim) for dim in operand["shape"]))
            for operand in description["operands"]
        ]
        self._packings = [
            {int(position): int(width) for position, width in packing.items()} for packing in description["packings"]
        ]
        self._weights = [int(position) for position in description["weights"]]
        self._results = [int(position) for position in description["results"]]
        unit = next((unit for unit in UNITS.values() if unit.name == description["unit"]), None)
        module, target = description["module"], description["target"]
        self._code = tvm.compile(
            module, target=target, tir_pipeline=pipeline_of(unit, int(description["threads"]))
        ).jit()
        self._operands = [_random(spec, seed, is_weight=seed in self._weights) for seed, spec in enumerate(self._specs)]
        self._pools = {position: self._copies(position, pool_bytes) for position in self._weights}

    @property
    def count(self) -> int:
        return len(self._packings)

    def answer(self, index: int) -> list[NDArray[Any]]:
        """The results for random operands, with weights packed as this configuration reads them."""
        operands = [
            _aligned(pack(array, self._packings[index][position])) if position in self._packings[index] else array
            for position, array in enumerate(self._operands)
        ]
        for position in self._results:
            operands[position].fill(np.nan if operands[position].dtype.kind == "f" else 0)
        self._function(index)(*(tvm_ffi.from_dlpack(array) for array in operands))
        return [operands[position].copy() for position in self._results]

    def trial(self, index: int) -> Trial:
        """Values do not matter for timing, so the same copies of the weights serve every packing, only reshaped."""
        shapes = {
            position: pack_shape(self._specs[position], width) for position, width in self._packings[index].items()
        }
        turns = max((len(pool) for pool in self._pools.values()), default=1)
        operands = [
            [
                tvm_ffi.from_dlpack(self._operand(position, turn).reshape(shapes.get(position, spec.shape)))
                for position, spec in enumerate(self._specs)
            ]
            for turn in range(turns)
        ]
        function = self._function(index)

        def run(turn: int) -> None:
            function(*operands[turn % turns])

        return Trial(index, run)

    def _operand(self, position: int, turn: int) -> NDArray[Any]:
        pool = self._pools.get(position)
        return self._operands[position] if pool is None else pool[turn % len(pool)]

    def _copies(self, position: int, pool_bytes: int) -> list[NDArray[Any]]:
        array = self._operands[position]
        count = min(MOST_COPIES, max(1, pool_bytes // max(array.nbytes, 1)))
        return [array, *(_aligned(array) for _ in range(count - 1))]

    def _function(self, index: int) -> Any:
        return self._code[f"trial_{index}"]


def pack_shape(spec: TensorSpec, width: int) -> tuple[int, ...]:
    """Shape of the tensor after ``packing.pack``."""
    *lead, columns = (int(dim) for dim in spec.shape)
    return (columns // width, *lead, width)


def search(trials: Sequence[Trial], clock: Clock = time.perf_counter) -> tuple[Trial, float, float]:
    """-> (the fastest if it is clearly faster than the first, else the first; its speed-up; seconds of one call).

    Trials take turns, so that a machine that becomes busy slows all of them.
    """
    first = trials[0]
    calls = {trial.index: _calls(trial, clock) for trial in trials}
    best = {trial.index: float("inf") for trial in trials}
    racing = list(trials)
    for _ in range(ROUNDS):
        for trial in racing:
            best[trial.index] = min(best[trial.index], _sample(trial, calls[trial.index], clock))
        limit = STILL_IN * min(best.values())
        racing = [trial for trial in racing if best[trial.index] <= limit]
    fastest = min(trials, key=lambda trial: best[trial.index])
    if best[first.index] < best[fastest.index] * LEAST_GAIN:
        return first, 1.0, best[first.index]
    # the minimum of many noisy samples is biased: confirm the gain with fresh samples that played no part in the choice
    gains = sorted(_duel(first, fastest, calls, clock) for _ in range(DUELS))
    if gains[DUELS // 4] < LEAST_GAIN:  # it must win 3 of 4 duels; by chance that happens once in 75 times
        return first, 1.0, best[first.index]
    return fastest, gains[DUELS // 2], best[fastest.index]


def _duel(first: Trial, other: Trial, calls: Mapping[int, int], clock: Clock) -> float:
    """How many times as fast the other is, both sampled one right after the other."""
    return _sample(first, calls[first.index], clock) / _sample(other, calls[other.index], clock)


def _calls(trial: Trial, clock: Clock) -> int:
    """How many calls make a sample. By the shortest of several, so that a stall does not shorten a trial's samples."""
    trial.run(0)
    seconds = min(_time(trial, turn, clock) for turn in range(FEWEST_CALLS))
    return max(1 if seconds > SAMPLE_S else FEWEST_CALLS, min(MOST_CALLS, round(SAMPLE_S / max(seconds, 1e-9))))


def _sample(trial: Trial, calls: int, clock: Clock) -> float:
    """Seconds of a call: the median, because on a busy machine a few calls wait for a core."""
    return median(_time(trial, turn, clock) for turn in range(calls))


def _time(trial: Trial, turn: int, clock: Clock) -> float:
    start = clock()
    trial.run(turn)
    return clock() - start


def same(expected: Sequence[NDArray[Any]], got: Sequence[NDArray[Any]]) -> bool:
    """Equal within rounding; NaN and infinities have to be in the same positions."""
    for a, b in zip(expected, got, strict=True):
        if a.dtype.kind != "f":
            if not np.array_equal(a, b):
                return False
            continue
        finite = np.isfinite(a)
        scale = np.abs(a[finite]).max(initial=0)
        if not np.array_equal(finite, np.isfinite(b)):
            return False
        if np.abs(a[finite].astype(np.float64) - b[finite]).max(initial=0) > MOST_DIFFERENCE * scale:
            return False
    return True


def _random(spec: TensorSpec, seed: int, *, is_weight: bool) -> NDArray[Any]:
    """Standard normal numbers as floats or as bfloat16 in integers; zeros of other types, which are mostly indices."""
    array = aligned_empty(spec)
    rng = np.random.default_rng(seed)
    if array.dtype.kind == "f":
        array[...] = rng.standard_normal(array.shape, dtype=np.float32)
    elif array.dtype == STORAGE:
        array[...] = encode(rng.standard_normal(array.shape, dtype=np.float32))
    elif is_weight:
        *lead, steps, columns = array.shape
        array[...] = encode_pairs(rng.standard_normal((*lead, 2 * steps, columns), dtype=np.float32))
    else:
        array.fill(0)
    return array


def _aligned(array: NDArray[Any]) -> NDArray[Any]:
    copy = aligned_empty(TensorSpec("operand", str(array.dtype), array.shape))
    np.copyto(copy, array)
    return copy


def measure(request: Any) -> Iterator[dict[str, Any]]:
    """The lines to write for one request."""
    description = tvm.ir.load_json(Path(request["kernel"]).read_text(encoding="utf-8"))
    kernel = CompiledKernel(description, int(request["pool_bytes"]))
    right: list[int] = []
    wrong: list[int] = []
    expected: list[NDArray[Any]] | None = None
    for index in range(kernel.count):
        if index in request["skip"]:
            continue
        yield {"running": index}
        answer = kernel.answer(index)
        expected = answer if expected is None else expected
        (right if same(expected, answer) else wrong).append(index)
    yield {"running": None}  # all of them, in turn
    chosen, gain, seconds = search([kernel.trial(index) for index in right])
    yield {"best": chosen.index, "gain": gain, "microseconds": seconds * 1e6, "wrong": wrong}


def main() -> None:
    # libraries print to stdout: answers go to a duplicate of it, and stdout itself to stderr
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            try:
                for answer in measure(json.loads(line)):
                    print(json.dumps(answer), file=answers, flush=True)
            except Exception as error:  # noqa: BLE001  a compiler's failures are of every kind
                print(json.dumps({"failed": f"{type(error).__name__}: {error}"}), file=answers, flush=True)


if __name__ == "__main__":
    main()

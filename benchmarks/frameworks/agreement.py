"""How far a converted model's answers are from its source's, and how much these answers can tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.reference import Arrays
from neo.contract.parity import Parity, compare
from neo.frontends.base import Sample


@dataclass(frozen=True, slots=True)
class Agreement:
    """top1: whether the largest of every row of scores, and every label, is the same; None where the answers are
    neither. inputs: how many were asked.
    """

    parity: Parity
    top1: bool | None
    inputs: int


def agreement(run: Callable[[Arrays], Arrays], samples: Sequence[Sample], *, table: bool) -> Agreement:
    """run: the converted model. table: every row of a sample is an input of its own."""
    worst = Parity(0.0, 0.0)
    agreed: list[bool] = []
    for sample in samples:
        answers = run(sample.inputs)
        worst = worst.worst(compare(sample.outputs, answers))
        agreed += _top1(sample.outputs, answers)
    inputs = sum(len(next(iter(sample.inputs.values()))) for sample in samples) if table else len(samples)
    return Agreement(worst, all(agreed) if agreed else None, inputs)


def _top1(wanted: Arrays, found: Arrays) -> list[bool]:
    """Scores have the shape (N, classes) or (N, positions, classes); labels are whole numbers, (N,)."""
    scores = [name for name, array in wanted.items() if array.ndim in {2, 3} and array.shape[-1] > 1]
    labels = [name for name, array in wanted.items() if array.ndim == 1 and array.dtype.kind in "iu"]
    return [bool(np.array_equal(wanted[name].argmax(-1), found[name].argmax(-1))) for name in scores] + [
        bool(np.array_equal(wanted[name], found[name])) for name in labels
    ]


def spread(samples: Sequence[Sample], *, table: bool) -> float:
    """How much of the answers depends on the question, 0 to 1: the root mean square of what differs from the mean over
    the inputs, as a part of that of the answers. The least of all outputs.

    Where it is 0, a model that ignores its input would agree too.
    """
    if not samples:
        return 0.0
    join = np.concatenate if table else np.stack
    return min(_spread(join([sample.outputs[name] for sample in samples])) for name in samples[0].outputs)


def _spread(answers: NDArray[Any]) -> float:
    """answers: (inputs, ...)."""
    numbers = answers.astype(np.float64)
    size = float(np.square(numbers).sum())
    return float(np.sqrt(np.square(numbers - numbers.mean(axis=0)).sum() / size)) if size else 0.0

"""One number for many runs: the mean of the middle half, deaf to outliers as a median is and finer than a clock that
counts microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def typical(values: Sequence[float]) -> float:
    return float(np.mean(np.asarray(values)[_middle_half(values)]))


def typical_parts(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of each part, over the runs whose sums are in the middle: so the parts add up to a typical run.

    Part by part would not do: what disturbs a run disturbs a few of its parts, and would be left out everywhere.
    """
    middle = [runs[index] for index in _middle_half([sum(run.values()) for run in runs])]
    names = dict.fromkeys(name for run in middle for name in run)
    return {name: sum(run.get(name, 0.0) for run in middle) / len(middle) for name in names}


def _middle_half(values: Sequence[float]) -> list[int]:
    """Indices; of three values and fewer, all."""
    quarter = len(values) // 4
    return [int(index) for index in np.argsort(values)[quarter : len(values) - quarter]]

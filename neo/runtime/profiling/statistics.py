"""One number for many runs: the interquartile mean. It ignores outliers like a median, but has a finer resolution than
the clock, which counts microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def typical(values: Sequence[float]) -> float:
    return float(np.mean(np.asarray(values)[_middle_half(values)]))


def typical_parts(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each part over those runs whose totals are in the middle half, so that parts add up to a typical run.

    Choosing runs for each part separately would ignore disturbances in all parts, and the sum would be too small.
    """
    middle = [runs[index] for index in _middle_half([sum(run.values()) for run in runs])]
    names = dict.fromkeys(name for run in middle for name in run)
    return {name: sum(run.get(name, 0.0) for run in middle) / len(middle) for name in names}


def _middle_half(values: Sequence[float]) -> list[int]:
    """Indices of the values in the middle half; of three or fewer, all."""
    quarter = len(values) // 4
    return [int(index) for index in np.argsort(values)[quarter : len(values) - quarter]]

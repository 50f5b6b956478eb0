"""Rows that reveal faults of a tree: zeros, missing values, the thresholds of its splits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo.frontends.special import BOUNDARIES, INFINITE, LARGEST, REPEATED, SMALLEST, SOME_NAN, ZEROS, smallest
from neo.frontends.table_columns import Column, drawn_rows

ROWS = 64

Samples = NDArray[Any]
# share of a column's values that is replaced
_PART = 0.4


def special_rows(columns: Sequence[Column], seed: int) -> Iterator[tuple[str, Samples]]:
    """(kind, ROWS rows), as ``drawn_rows`` gives them, but with special values in columns of numbers.

    Categories and words stay, because models refuse or ignore unknown ones.
    """
    plain = [i for i, column in enumerate(columns) if not (column.choices or column.words or column.text)]
    bounded = [i for i in plain if columns[i].boundaries]
    for kind, make in _MAKERS.items():
        rng = np.random.default_rng([seed, *kind.encode()])
        changing = bounded if kind == BOUNDARIES else plain
        if changing:
            rows = drawn_rows(columns, rng, ROWS)
            for position in changing:
                rows[:, position] = make(rows[:, position].astype(np.float32), columns[position], rng)
            yield kind, rows


def _some(values: Sequence[float]) -> Callable[[Samples, Column, np.random.Generator], Samples]:
    """Replaces some of a column's values by these, and in the first two rows all."""

    def make(drawn: Samples, _column: Column, rng: np.random.Generator) -> Samples:
        hit = rng.random(len(drawn)) < _PART
        hit[:2] = True
        return np.where(hit, np.array(values, np.float32)[rng.integers(0, len(values), len(drawn))], drawn)

    return make


def _boundaries(_drawn: Samples, column: Column, rng: np.random.Generator) -> Samples:
    """For each row the float32 nearest to a split's threshold, or one of its two neighbours."""
    near = rng.choice(np.array(column.boundaries, np.float64), ROWS)
    limits = np.finfo(np.float32)
    near32 = np.clip(near, limits.min, limits.max).astype(np.float32)
    side = rng.integers(-1, 2, ROWS)
    moved = np.nextafter(near32, np.where(side > 0, np.inf, -np.inf).astype(np.float32))
    return np.asarray(np.where(side == 0, near32, moved))


_FLOAT32 = np.finfo(np.float32)
_MAKERS: Mapping[str, Callable[[Samples, Column, np.random.Generator], Samples]] = {
    ZEROS: _some((0.0,)),
    REPEATED: _some((-1.0, 0.0, 1.0)),
    SMALLEST: _some(smallest(_FLOAT32)),
    LARGEST: _some((float(_FLOAT32.max), float(_FLOAT32.min))),
    BOUNDARIES: _boundaries,
    INFINITE: _some((np.inf, -np.inf)),
    SOME_NAN: _some((np.nan,)),
}

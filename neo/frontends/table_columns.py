"""The values that the columns of a table may have, and random rows of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo.contract.strings import STRING

_TEXT_LENGTH = 8
# LightGBM's largest threshold, 1.8e308, separates missing values from all others; columns are not drawn up to it
_HUGE = 1e30
# words between those that a model knows, some of which tokenizers split in different ways
_ANY_WORDS = ("a", "I", "don't", "Über-naïve,", "42", "x_1", "end.", "-")


@dataclass(frozen=True, slots=True)
class Column:
    """The values of one column: numbers between low and high, unless there are choices or words."""

    low: float = -3.0
    high: float = 3.0
    #: the numbers that it may have
    choices: tuple[float, ...] = ()
    #: the strings that it may have
    words: tuple[str, ...] = ()
    #: is each value a text of several words?
    text: bool = False
    #: thresholds of the splits on this column
    boundaries: tuple[float, ...] = ()

    @property
    def dtype(self) -> str:
        return STRING if self.words or self.text else "float32"

    def draw(self, rng: np.random.Generator, rows: int) -> NDArray[Any]:
        """Float64 or object (rows,)."""
        if self.text:
            words = np.array([*self.words, *_ANY_WORDS], object)
            return np.array([" ".join(rng.choice(words, _TEXT_LENGTH)) for _ in range(rows)], object)
        if self.words:
            return np.array(self.words, object)[rng.integers(0, len(self.words), rows)]
        if self.choices:
            return np.asarray(rng.choice(np.array(self.choices), rows))
        return rng.uniform(self.low, self.high, rows)


def around(thresholds: Iterable[tuple[int, float]], features: int) -> tuple[Column, ...]:
    """Columns whose values fall on both sides of all thresholds, given as (column, threshold)."""
    found: dict[int, list[float]] = {}
    for column, threshold in thresholds:
        if np.isfinite(threshold):  # an infinite one separates missing values from all others
            found.setdefault(column, []).append(threshold)
    return tuple(_around(found[column]) if column in found else Column() for column in range(features))


def _around(thresholds: list[float]) -> Column:
    usual = [threshold for threshold in thresholds if abs(threshold) < _HUGE] or [0.0]
    low, high = min(usual), max(usual)
    margin = (high - low) / 4 or max(abs(low) / 4, 1.0)
    return Column(low - margin, high + margin, boundaries=tuple(dict.fromkeys(thresholds)))


def drawn_rows(columns: Sequence[Column], rng: np.random.Generator, rows: int) -> NDArray[Any]:
    """Float32 (rows, columns), or object if there are words among them."""
    drawn = np.stack([column.draw(rng, rows) for column in columns], axis=1)
    return drawn if drawn.dtype == object else drawn.astype(np.float32)

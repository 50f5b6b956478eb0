"""How far two sets of outputs are apart, and how far they may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo.contract.fields import ContractError, as_object, get_number
from neo.contract.strings import STRING, dtype_name

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Parity:
    """How far answers are from those expected; the worst output counts.

    Both numbers are inf where shapes differ, only one side is finite, or a string differs.
    """

    #: The largest |actual - expected|.
    max_abs: float
    #: That divided by the largest |expected| of the same output.
    max_rel: float

    def worst(self, other: Parity) -> Parity:
        return Parity(max(self.max_abs, other.max_abs), max(self.max_rel, other.max_rel))

    def to_json(self) -> dict[str, Any]:
        """JSON has no inf: a hopeless comparison is written as null."""
        return {
            "max_abs": self.max_abs if np.isfinite(self.max_abs) else None,
            "max_rel": self.max_rel if np.isfinite(self.max_rel) else None,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Parity:
        """What ``to_json`` wrote."""
        return cls(*(np.inf if value[key] is None else float(value[key]) for key in ("max_abs", "max_rel")))


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Outputs agree if max_rel holds, or max_abs does (outputs near zero have no useful relative error)."""

    max_abs: float = 1e-5
    max_rel: float = 1e-4

    def accepts(self, parity: Parity) -> bool:
        return parity.max_rel <= self.max_rel or parity.max_abs <= self.max_abs

    def widest(self, other: Tolerance) -> Tolerance:
        return Tolerance(max(self.max_abs, other.max_abs), max(self.max_rel, other.max_rel))

    def to_json(self) -> dict[str, Any]:
        return {"max_abs": self.max_abs, "max_rel": self.max_rel}

    @classmethod
    def from_json(cls, value: Any) -> Tolerance:
        obj = as_object(value, "tolerance")
        max_abs, max_rel = get_number(obj, "max_abs", "tolerance"), get_number(obj, "max_rel", "tolerance")
        if not (0 <= max_abs < float("inf") and 0 <= max_rel < float("inf")):
            raise ContractError("a tolerance is not negative and finite")
        return cls(max_abs, max_rel)


def compare(expected: Mapping[str, Array], actual: Mapping[str, Array]) -> Parity:
    """Output by output, by name; an output that is missing or of another shape counts as infinitely far."""
    worst = Parity(0.0, 0.0)
    for name, want in expected.items():
        got = actual.get(name)
        worst = worst.worst(Parity(np.inf, np.inf) if got is None else _compare_one(np.asarray(want), np.asarray(got)))
    return worst


def _compare_one(want: Array, got: Array) -> Parity:
    if want.shape != got.shape:
        return Parity(np.inf, np.inf)
    if want.size == 0:
        return Parity(0.0, 0.0)
    if STRING in (dtype_name(want), dtype_name(got)):
        # there is no small difference between two strings
        distance = 0.0 if bool(np.all(want == got)) else np.inf
        return Parity(distance, distance)
    a, b = want.astype(np.float64), got.astype(np.float64)
    finite = np.isfinite(a)
    # NaN must meet NaN and an infinity its own sign; what is left is compared by size
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(b[finite]).all():
        return Parity(np.inf, np.inf)
    with np.errstate(over="ignore"):  # two huge numbers of opposite sign are infinitely far apart
        max_abs = float(np.abs(a[finite] - b[finite]).max(initial=0.0))
    largest = float(np.abs(a[finite]).max(initial=0.0))
    if max_abs == 0.0:
        return Parity(0.0, 0.0)
    return Parity(max_abs, max_abs / largest if largest > 0.0 else np.inf)

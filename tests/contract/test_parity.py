from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neo.contract.fields import ContractError
from neo.contract.parity import Parity, Tolerance, compare
from tests.contract import strategies

INF = np.inf
NAN = np.nan


def parity(want: object, got: object) -> Parity:
    return compare({"y": np.asarray(want)}, {"y": np.asarray(got)})


@pytest.mark.parametrize(
    ("want", "got", "expected"),
    [
        ([1.0, -4.0], [1.0, -4.0], Parity(0.0, 0.0)),
        ([1.0, -4.0], [1.5, -4.0], Parity(0.5, 0.125)),
        ([], [], Parity(0.0, 0.0)),
        ([0.0, 0.0], [0.0, 0.0], Parity(0.0, 0.0)),
        ([0.0, 0.0], [0.0, 0.25], Parity(0.25, INF)),
        (7.0, 7.0, Parity(0.0, 0.0)),
        ([NAN, 1.0], [NAN, 1.0], Parity(0.0, 0.0)),
        ([NAN, 1.0], [0.0, 1.0], Parity(INF, INF)),
        ([0.0, 1.0], [NAN, 1.0], Parity(INF, INF)),
        ([INF, 1.0], [INF, 1.0], Parity(0.0, 0.0)),
        ([INF, 1.0], [-INF, 1.0], Parity(INF, INF)),
        ([INF, 1.0], [NAN, 1.0], Parity(INF, INF)),
        ([1.0, 1.0], [INF, 1.0], Parity(INF, INF)),
        ([NAN, NAN], [NAN, NAN], Parity(0.0, 0.0)),
        ([[1.0, 2.0]], [1.0, 2.0], Parity(INF, INF)),
        ([1.0], [1.0, 1.0], Parity(INF, INF)),
        ([1.7e308], [-1.7e308], Parity(INF, INF)),
        ([True, False], [True, True], Parity(1.0, 1.0)),
        ([3, 4], [3, 2], Parity(2.0, 0.5)),
    ],
)
def test_how_far_apart_two_outputs_are(want: object, got: object, expected: Parity) -> None:
    assert parity(want, got) == expected


def test_the_worst_output_counts_and_a_missing_one_is_infinitely_far() -> None:
    want = {"a": np.array([1.0]), "b": np.array([100.0])}
    assert compare(want, {"a": np.array([1.5]), "b": np.array([101.0])}) == Parity(1.0, 0.5)
    assert compare(want, {"a": np.array([1.0])}) == Parity(INF, INF)
    assert compare({"a": np.array([1.0])}, {**want, "c": np.array([9.0])}) == Parity(0.0, 0.0)


@given(strategies.arrays)
def test_everything_agrees_with_itself(array: np.ndarray) -> None:
    assert parity(array, array) == Parity(0.0, 0.0)


def test_either_limit_is_enough_and_nothing_accepts_the_hopeless() -> None:
    tolerance = Tolerance(max_abs=1e-3, max_rel=1e-2)
    assert tolerance.accepts(Parity(1e-3, INF))
    assert tolerance.accepts(Parity(5.0, 1e-2))
    assert not tolerance.accepts(Parity(2e-3, 2e-2))
    assert not tolerance.accepts(Parity(INF, INF))


def test_a_hopeless_comparison_is_null_in_json() -> None:
    assert Parity(INF, 0.5).to_json() == {"max_abs": None, "max_rel": 0.5}


@pytest.mark.parametrize("value", [-1e-9, NAN, INF, "0", None, True, 10**400])
def test_a_tolerance_is_a_finite_number_and_not_negative(value: object) -> None:
    with pytest.raises(ContractError):
        Tolerance.from_json({"max_abs": 0.0, "max_rel": value})


@given(st.integers(0, 3))
def test_whole_numbers_are_tolerances_too(value: int) -> None:
    assert Tolerance.from_json({"max_abs": value, "max_rel": 0}) == Tolerance(float(value), 0.0)

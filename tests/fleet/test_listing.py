"""A fleet of thousands is named in a sentence that can be read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from neo.fleet.listing import listed


@given(st.integers(0, 40), st.integers(1, 10))
def test_nobody_is_left_out_without_being_counted(count, most):
    names = [f"d{number}" for number in range(count)]
    text, _, beside = listed(names, most).partition(" and ")
    shown = text.split(", ") if text else []
    assert shown == names[:most]
    assert len(shown) + int(beside.removesuffix(" more") or 0) == len(names)

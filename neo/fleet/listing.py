"""Names of devices in a sentence: the first ones, and how many there are beside them."""

from __future__ import annotations

from collections.abc import Sequence

SHOWN = 5
MOST_IN_A_HINT = 20


def listed(names: Sequence[str], most: int = SHOWN) -> str:
    """Names with commas between; beyond ``most`` only their number is told."""
    beside = len(names) - most
    return ", ".join(names[:most]) + (f" and {beside} more" if beside > 0 else "")

"""How much is tried: a little in the usual runs, all of it with NEO_THOROUGH=1."""

from __future__ import annotations

import os

#: is set for a run that may take hours
THOROUGH = bool(os.environ.get("NEO_THOROUGH"))


def times(usual: int, thorough: int) -> int:
    """A number of examples, kills or devices."""
    return thorough if THOROUGH else usual

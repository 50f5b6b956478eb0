"""Which of a file's signatures is converted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from neo.errors import ModelError, UsageError

DEFAULT_SIGNATURE = "serving_default"


def choose_signature(path: Path, names: Sequence[str], wanted: str | None, *, without: str) -> str:
    """wanted: what --signature says, else serving_default, else the only one. without: the hint if there is none."""
    listed = ", ".join(sorted(names))
    if not names:
        raise ModelError(
            f"{path} has no signature: it does not say what its inputs and outputs are",
            hint=without,
        )
    if wanted is not None:
        if wanted not in names:
            raise UsageError(f"{path} has no signature {wanted!r}", hint=f"--signature can be: {listed}")
        return wanted
    if DEFAULT_SIGNATURE in names or len(names) == 1:
        return DEFAULT_SIGNATURE if DEFAULT_SIGNATURE in names else names[0]
    raise ModelError(
        f"{path} has several signatures and none is called {DEFAULT_SIGNATURE}: {listed}",
        hint=f"choose one: --signature {min(names)}",
        details={"signatures": sorted(names)},
    )

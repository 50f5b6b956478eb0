"""What a user may ask of the rewrites."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RewriteOptions:
    """All rewrites get it."""

    #: By input or output: where each axis of the new interface stands in the model's own.
    permutations: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    #: A folder that gets the graph after every step that changed it; None: nothing is kept.
    steps: Path | None = None

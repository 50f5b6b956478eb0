"""What a user may ask of the rewrites."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RewriteOptions:
    """All rewrites get it."""

    #: Input or output -> for each axis of the new interface, the axis of the model that it is.
    permutations: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    #: Folder where the graph is written after every step that changed it; None: it is not.
    steps: Path | None = None

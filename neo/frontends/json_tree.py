"""Walking JSON that a model file brought along."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def objects(document: Any) -> Iterator[dict[str, Any]]:
    """Every object in the document, with an explicit stack: the nesting is the file's choice."""
    pending = [document]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending.extend(value)
        elif isinstance(value, dict):
            pending.extend(value.values())
            yield value

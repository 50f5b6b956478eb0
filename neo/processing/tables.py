"""Reading a table of a TOML document strictly: every key is known, every value of its kind, or a UsageError says so."""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from neo.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")

MAX_BYTES = 1 << 20
GUIDE = "docs/pipelines.md lists every step with its keys"


def load_toml(path: Path) -> dict[str, Any]:
    """Raises UsageError for a file that is missing, too large or no TOML."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint=GUIDE) from error
    if len(content) > MAX_BYTES:
        raise UsageError(f"{path} has more than {MAX_BYTES} bytes", hint=GUIDE)
    try:
        document: dict[str, Any] = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise UsageError(f"{path} is no TOML file: {error}", hint=GUIDE) from error
    return document


class Table:
    """One table. Each method takes one key; ``finish`` refuses keys that are left.

    where: for messages, as in "preprocess.toml, step 2 (resize)". All methods raise UsageError, which names where, the
    key, what was found and what is allowed.
    """

    def __init__(self, values: object, where: str) -> None:
        if not isinstance(values, dict):
            raise UsageError(f"{where} should be a table, found {_shown(values)}", hint=GUIDE)
        self.where = where
        self._values: dict[str, Any] = dict(values)
        self._known: list[str] = []

    def has(self, key: str) -> bool:
        return key in self._values

    def any(self, key: str, default: object = None) -> Any:
        self._known.append(key)
        return self._values.pop(key, default)

    def choice(self, key: str, allowed: Sequence[str], default: str | None = None) -> str:
        value = self._take(key, default)
        if value not in allowed:
            raise self.wrong(key, value, f"one of {', '.join(map(repr, allowed))}")
        return str(value)

    def text(self, key: str, default: str | None = None) -> str:
        value = self._take(key, default)
        if not isinstance(value, str) or not 0 < len(value) <= 200:
            raise self.wrong(key, value, "a text of 1 to 200 characters")
        return value

    def texts(self, key: str, expected: str) -> tuple[str, ...]:
        """A list of texts, read from a file that the document names."""
        value = self.any(key)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(key, value, expected)
        return tuple(value)

    def flag(self, key: str, *, default: bool) -> bool:
        value = self.any(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, value, "true or false")
        return value

    def whole(self, key: str, low: int, high: int, default: int | None = None) -> int:
        value = self._take(key, default)
        if not _is_whole(value, low, high):
            raise self.wrong(key, value, f"a whole number from {low} to {high}")
        return int(value)

    def number(self, key: str, low: float, high: float, default: float | None = None) -> float:
        value = self._take(key, default)
        if not _is_number(value) or not low <= value <= high:
            raise self.wrong(key, value, f"a number from {low:g} to {high:g}")
        return float(value)

    def numbers(self, key: str) -> tuple[float, ...]:
        """One number, or a list of one for each channel."""
        value = self._take(key, None)
        items = value if isinstance(value, list) else [value]
        if not 1 <= len(items) <= 3 or not all(map(_is_number, items)):
            raise self.wrong(key, value, "a number, or a list with one for each channel")
        return tuple(map(float, items))

    def size(self, key: str, high: int) -> tuple[int, int]:
        """[height, width] in pixels; one number is both."""
        value = self._take(key, None)
        items = value if isinstance(value, list) else [value, value]
        if len(items) != 2 or not all(_is_whole(item, 1, high) for item in items):
            raise self.wrong(key, value, f"a whole number of pixels or [height, width], each from 1 to {high}")
        return int(items[0]), int(items[1])

    def tables(self, key: str, read: Callable[[Table], T], kind: str) -> tuple[T, ...]:
        """An array of tables, [[key]]. kind: the key by which messages identify an item."""
        value = self.any(key, [])
        if not isinstance(value, list):
            raise self.wrong(key, value, f"a list of tables, each headed [[{key}]]")
        result = []
        for number, item in enumerate(value, 1):
            what = f" ({item[kind]})" if isinstance(item, dict) and isinstance(item.get(kind), str) else ""
            table = Table(item, f"{self.where}, {key} {number}{what:.60}")
            result.append(read(table))
            table.finish()
        return tuple(result)

    def finish(self) -> None:
        for key in self._values:
            close = difflib.get_close_matches(key, self._known, 1)
            raise UsageError(
                f"{self.where} has the key {key[:60]!r}, which it does not know",
                hint=(f"did you mean {close[0]!r}? " if close else "") + f"known are: {', '.join(self._known)}",
            )

    def wrong(self, key: str, value: object, expected: str) -> UsageError:
        return UsageError(f"{self.where}: {key} should be {expected}; found {_shown(value)}", hint=GUIDE)

    def _take(self, key: str, default: object) -> Any:
        return self.any(key, default)


def read_step(table: Table, steps: dict[str, Callable[[Table], T]]) -> T:
    """The step that ``do`` names."""
    name = table.any("do")
    if not isinstance(name, str) or name not in steps:
        close = difflib.get_close_matches(str(name), steps, 1)
        raise UsageError(
            f"{table.where}: do should name a step; found {_shown(name)}",
            hint=(f"did you mean {close[0]!r}? " if close else "") + f"there are: {', '.join(steps)}",
        )
    return steps[name](table)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _shown(value: object) -> str:
    return "nothing" if value is None else f"{value!r:.60}"

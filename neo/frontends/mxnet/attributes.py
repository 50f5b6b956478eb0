"""Operator attributes: MXNet writes every one of them as text, "(3, 3)", "True", "None"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from neo.errors import ModelError

_INT = re.compile(r"[+-]?[0-9]{1,18}L?")
_TRUE, _FALSE = frozenset(["true", "1"]), frozenset(["false", "0"])


@dataclass(frozen=True, slots=True)
class Attributes:
    """The attributes of one node. Every reader raises ModelError, naming the node, for text it cannot read.

    An attribute that is absent, or "None", has the default; without a default it is required.
    """

    where: str
    texts: Mapping[str, str]

    def text(self, name: str, default: str | None = None) -> str:
        value = self._present(name)
        if value is None:
            if default is None:
                raise ModelError(f"{self.where} lacks its attribute {name!r}")
            return default
        return value

    def choice(self, name: str, choices: tuple[str, ...], default: str | None = None) -> str:
        value = self.text(name, default)
        if value not in choices:
            raise self._unreadable(name, f"one of {', '.join(choices)}")
        return value

    def integer(self, name: str, default: int | None = None) -> int:
        value = self._present(name)
        if value is None and default is not None:
            return default
        number = _parse_int(self.text(name))
        if number is None:
            raise self._unreadable(name, "a whole number")
        return number

    def number(self, name: str, default: float | None = None) -> float:
        value = self._present(name)
        if value is None and default is not None:
            return default
        try:
            return float(self.text(name))
        except ValueError as error:
            raise self._unreadable(name, "a number") from error

    def boolean(self, name: str, default: bool) -> bool:
        value = self.text(name, str(default)).lower()
        if value not in _TRUE | _FALSE:
            raise self._unreadable(name, "True or False")
        return value in _TRUE

    def integers(self, name: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """A tuple, or one number as a tuple of one."""
        value = self._present(name)
        if value is None and default is not None:
            return default
        numbers = self.optional_integers(name)
        if any(number is None for number in numbers):
            raise self._unreadable(name, "a tuple of whole numbers")
        return tuple(number for number in numbers if number is not None)

    def numbers(self, name: str, default: tuple[float, ...]) -> tuple[float, ...]:
        """A tuple of numbers with a point: "(0.1, 0.2)"."""
        if not self.has(name):
            return default
        try:
            return tuple(float(item) for item in self.text(name).strip("()[] ").split(",") if item.strip())
        except ValueError as error:
            raise self._unreadable(name, "a tuple of numbers") from error

    def integers_of_tuples(self, name: str) -> tuple[int, ...]:
        """The numbers of a tuple of tuples, one after the other: "((0, 0), (1, 2))"."""
        items = re.sub(r"[()\[\]\s]+", " ", self.text(name)).replace(",", " ").split()
        numbers = [_parse_int(item) for item in items]
        if not numbers or any(number is None for number in numbers):
            raise self._unreadable(name, "a tuple of tuples of whole numbers")
        return tuple(number for number in numbers if number is not None)

    def optional_integers(self, name: str) -> tuple[int | None, ...]:
        """A tuple whose items may be None, as the begin of a slice: "(0, None)"."""
        text = self.text(name).strip()
        if text[:1] in {"(", "["}:
            if text[-1:] != {"(": ")", "[": "]"}[text[0]]:
                raise self._unreadable(name, "a tuple of whole numbers")
            text = text[1:-1]
        items = [item.strip() for item in text.split(",")]
        if items and not items[-1]:
            items.pop()
        numbers = [_parse_int(item) for item in items]
        if any(number is None and item != "None" for number, item in zip(numbers, items, strict=True)):
            raise self._unreadable(name, "a tuple of whole numbers")
        return tuple(numbers)

    def has(self, name: str) -> bool:
        return self._present(name) is not None

    def _present(self, name: str) -> str | None:
        value = self.texts.get(name)
        return None if value is None or value == "None" else value

    def _unreadable(self, name: str, wanted: str) -> ModelError:
        return ModelError(f"{self.where}: attribute {name}={self.texts.get(name)!r} should be {wanted}")


def _parse_int(text: str) -> int | None:
    match = _INT.fullmatch(text.strip())
    return int(match[0].rstrip("L")) if match else None

"""Names that may stand in a topic, a tag and a path; versions of libraries and drivers."""

from __future__ import annotations

import re
from typing import Any

from neo.contract.fields import ContractError, as_string

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# bounded: a version comes from another machine, and Python refuses to read numbers of thousands of digits
_VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,7}")


def parse_name(value: Any, what: str) -> str:
    """A name that may stand in a topic, a tag and a path: letters, digits, '.', '_', '-'; 64 at most."""
    text = as_string(value, what)
    if not _NAME.fullmatch(text):
        raise ContractError(
            f"{what} is {text[:80]!r}",
            hint="use 1 to 64 letters, digits, '.', '_' or '-', the first a letter or a digit",
        )
    return text


def is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def parse_version(value: Any, what: str) -> str:
    text = as_string(value, what)
    if not _VERSION.fullmatch(text):
        raise ContractError(f"{what} is {text[:40]!r}; a version is numbers and dots, as in 2.28")
    return text


def parse_wanted_version(value: Any, what: str) -> str:
    """What ``satisfies`` takes: an exact version, ">=X" for a floor, or "" for any."""
    text = as_string(value, what)
    if text.startswith(">="):
        parse_version(text[2:], what)
    return text


def satisfies(have: str, wanted: str) -> bool:
    if wanted.startswith(">="):
        return version_key(have) >= version_key(wanted[2:])
    return not wanted or have == wanted


def version_key(version: str) -> tuple[int, ...]:
    """What versions are ordered by: 2.28 and 2.28.0 are one; () for what begins with no number."""
    match = _VERSION.match(version)
    parts = [int(part) for part in match[0].split(".")] if match else []
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)

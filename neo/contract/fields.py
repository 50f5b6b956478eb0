"""Reading untrusted JSON: each function returns a value of the asked type or raises ContractError."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, TypeVar

from neo.errors import NeoError

T = TypeVar("T")

MAX_JSON_BYTES = 1 << 20
_DECODER = json.JSONDecoder()
# far below what Python's own writer takes: what was read can be written again, from however deep a stack
MAX_JSON_DEPTH = 64


class ContractError(NeoError):
    """A document or message that is not what the contract says."""

    exit_code = 33


def parse_object(data: bytes, *, what: str, max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """One JSON object. Raises ContractError if it is larger than max_bytes, nested too deep, no JSON, or no object."""
    if len(data) > max_bytes:
        raise ContractError(f"{what} has {len(data)} bytes; at most {max_bytes} are read")
    try:
        # decoded here, strictly: json takes UTF-16 too, and half characters that cannot be written again
        text = data.decode()
        value = _DECODER.decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ContractError(f"{what} is not JSON: {error}") from error
    # the brackets are counted first: a long flat list of numbers needs no second look
    if text.count("[") + text.count("{") > MAX_JSON_DEPTH and _is_deeper(value, MAX_JSON_DEPTH):
        raise ContractError(f"{what} is nested more than {MAX_JSON_DEPTH} deep")
    return as_object(value, what)


def dump_object(value: dict[str, Any]) -> bytes:
    """Compact, key-sorted UTF-8: one value has one spelling."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def as_object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ContractError(f"{what} should be an object, found {_kind(value)}")
    return value


def as_document(value: Any, what: str) -> dict[str, Any]:
    """An object of any content that ``dump_object`` can write again: no NaN, no infinity."""
    obj = as_object(value, what)
    try:
        dump_object(obj)
    except ValueError as error:
        raise ContractError(f"{what} cannot be written as JSON: {error}") from error
    return obj


def get(obj: dict[str, Any], key: str, kind: type[T], what: str) -> T:
    """obj[key] as kind; a bool is never taken for an int."""
    value = obj.get(key)
    if type(value) is kind:
        return value
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ContractError(f"{what}.{key} should be {kind.__name__}, found {_kind(value)}")
    return value


def get_number(obj: dict[str, Any], key: str, what: str) -> float:
    value = obj.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ContractError(f"{what}.{key} should be a number, found {_kind(value)}")
    try:
        number = float(value)
    except OverflowError as error:
        raise ContractError(f"{what}.{key} is out of range") from error
    if not math.isfinite(number):  # json reads NaN and 1e999, and nobody can write them again
        raise ContractError(f"{what}.{key} should be a finite number, found {number}")
    return number


def get_size(obj: dict[str, Any], key: str, what: str) -> int:
    """A whole number of bytes or items, 0 to 2**63 - 1."""
    value = get(obj, key, int, what)
    if not 0 <= value < 1 << 63:
        raise ContractError(f"{what}.{key} should be between 0 and 2**63 - 1, found {value}")
    return value


def get_list(
    obj: dict[str, Any], key: str, read: Callable[[Any], T], what: str, *, most: int | None = None
) -> tuple[T, ...]:
    """most: how many items are read at most; None: as many as the document's size allows."""
    items = get(obj, key, list, what)
    if most is not None and len(items) > most:
        raise ContractError(f"{what}.{key} has {len(items)} items; at most {most} are read")
    return tuple(map(read, items))


def get_strings(obj: dict[str, Any], key: str, what: str) -> tuple[str, ...]:
    return get_list(obj, key, lambda item: as_string(item, f"{what}.{key}[]"), what)


def as_string(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise ContractError(f"{what} should be a string, found {_kind(value)}")
    return value


def _is_deeper(value: Any, depth: int) -> bool:
    containers = [value]
    for _ in range(depth):
        inside = (item for c in containers for item in (c.values() if isinstance(c, dict) else c))
        containers = [item for item in inside if isinstance(item, dict | list)]
        if not containers:
            return False
    return True


def _kind(value: Any) -> str:
    return "nothing" if value is None else type(value).__name__

"""What all messages have in common: the version, and how large one may be."""

from __future__ import annotations

from typing import Any

from neo.contract.fields import MAX_JSON_BYTES, dump_object, parse_object
from neo.contract.versions import VERSION_KEY, require_version

MAX_PAYLOAD_BYTES = 128_000  # AWS IoT's limit is 128 KiB, topic and header included; others allow more
MESSAGE_VERSION = 1


def parse_message(data: bytes, what: str, max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
    obj = parse_object(data, what=what, max_bytes=max_bytes)
    require_version(obj, MESSAGE_VERSION, what)
    return obj


def dump_message(value: dict[str, Any]) -> bytes:
    return dump_object({VERSION_KEY: MESSAGE_VERSION, **value})

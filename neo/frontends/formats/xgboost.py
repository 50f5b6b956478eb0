"""JSON, or UBJSON, whose strings have a length of 8 bytes."""

from __future__ import annotations

import re

from neo.frontends.contents import Contents

_UBJSON = tuple(b"{L" + bytes(7) + bytes([len(key)]) + key for key in (b"learner", b"version"))
_JSON = re.compile(rb'\s*\{\s*("version"\s*:\s*\[[\d,\s]*\]\s*,\s*)?"learner"\s*:\s*\{')


def recognise(contents: Contents) -> str | None:
    return "xgboost" if contents.head.startswith(_UBJSON) or _JSON.match(contents.head) else None

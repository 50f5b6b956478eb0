"""What the files of some formats start with, and what lies in their folders."""

from __future__ import annotations

import re
from pathlib import Path

_MAX_SAFETENSORS_HEADER = 100_000_000
_UBJSON_XGBOOST = tuple(b"{L" + bytes(7) + bytes([len(key)]) + key for key in (b"learner", b"version"))
_JSON_XGBOOST = re.compile(rb'\s*\{\s*("version"\s*:\s*\[[\d,\s]*\]\s*,\s*)?"learner"\s*:\s*\{')


def is_transformers(folder: Path) -> bool:
    """config.json names the classes; the weights lie beside it, in one file or in numbered ones."""
    patterns = ("model*.safetensors", "pytorch_model*.bin")
    return (folder / "config.json").is_file() and any(next(folder.glob(pattern), None) for pattern in patterns)


def is_safetensors(head: bytes) -> bool:
    """The length of a JSON header in 8 bytes, then the header.

    https://github.com/huggingface/safetensors#format
    """
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= _MAX_SAFETENSORS_HEADER


def boosted_trees(head: bytes) -> str | None:
    """The format: "xgboost" (JSON, or UBJSON, whose strings have a length of 8 bytes), "lightgbm" or None."""
    if head.startswith(b"tree\n") and b"\nmax_feature_idx=" in head:
        return "lightgbm"
    if head.startswith(_UBJSON_XGBOOST) or _JSON_XGBOOST.match(head):
        return "xgboost"
    return None

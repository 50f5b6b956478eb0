"""The text of Booster.save_model."""

from __future__ import annotations

from neo.frontends.contents import Contents


def recognise(contents: Contents) -> str | None:
    return "lightgbm" if contents.head.startswith(b"tree\n") and b"\nmax_feature_idx=" in contents.head else None

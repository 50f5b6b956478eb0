"""Zip files of skops; pickles of anything that PyTorch did not write."""

from __future__ import annotations

from neo.frontends.contents import Contents
from neo.frontends.pickled import is_torch_pickle


def recognise(contents: Contents) -> str | None:
    if contents.is_pickle and not is_torch_pickle(contents.path, contents.head):
        return "pickle"
    if contents.is_zip and "schema.json" in contents.names and b'"__loader__"' in contents.starts_member("schema.json"):
        return "skops"
    return None

"""Folders of transformers: config.json names the classes; the weights are beside it, in one file or in several."""

from __future__ import annotations

from fnmatch import fnmatch

from neo.frontends.contents import Contents

_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")


def recognise(contents: Contents) -> str | None:
    if not contents.is_folder or not (contents.path / "config.json").is_file():
        return None
    return "transformers" if any(fnmatch(name, weights) for name in contents.names for weights in _WEIGHTS) else None

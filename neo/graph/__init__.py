"""ONNX -> ONNX rewrites that keep what the model answers. One file each; PASSES is their order."""

from __future__ import annotations

import importlib
from pathlib import Path

PASSES = (
    "neo.graph.embed_weights:embed_weights",
    "neo.graph.fold:fold",
)


def rewrite(model: Path, folder: Path) -> Path:
    """Run all passes: a model file in, a model file in folder out (external data, if any, beside it)."""
    for index, entry in enumerate(PASSES):
        module, function = entry.split(":")
        place = folder / f"{index}-{function}"
        place.mkdir()
        rewritten: Path = getattr(importlib.import_module(module), function)(model, place)
        model = rewritten
    return model

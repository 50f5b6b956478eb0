"""ONNX -> ONNX rewrites that do not change the model's outputs. One file each; REWRITES is their order."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from neo.graph.options import RewriteOptions
from neo.onnx_tools.passes import Model, Need, OnStep, Pass, PassResult, run_passes, write_copy

#: What the engines need of a rewritten model.
RESULT_NEEDS = frozenset({Need.SHAPES})


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A row of REWRITES."""

    name: str
    #: "module:function": (Model, an empty folder for files of its own, RewriteOptions) -> PassResult.
    entry: str
    #: What must hold for the model before the rewrite.
    needs: frozenset[Need] = frozenset()

    def as_pass(self, options: RewriteOptions) -> Pass:
        module, function = self.entry.split(":")
        run: Callable[..., PassResult] = getattr(importlib.import_module(module), function)
        return Pass(self.name, partial(run, options=options), self.needs)


REWRITES = (
    # before the others: a Transpose at the edge may cancel one that the model has there
    Rewrite("layout", "neo.graph.layout:change_layouts"),
    Rewrite("fold", "neo.graph.fold:fold", frozenset({Need.FILE})),
)


def rewrite(model: Path, folder: Path, options: RewriteOptions | None = None) -> Path:
    """Run all rewrites. folder: empty. -> the file with the result, external data beside it; it is in folder, or is the
    model itself if nothing was modified.

    Raises ModelError for a damaged file, EngineError if ONNX Runtime cannot read the model.
    """
    options = options or RewriteOptions()
    passes = [row.as_pass(options) for row in REWRITES]
    on_step = _write_steps(options.steps) if options.steps is not None else lambda _name, _model: None
    return run_passes(model, passes, folder, result_needs=RESULT_NEEDS, on_step=on_step)


def _write_steps(folder: Path) -> OnStep:
    """Writes files with numbered names of the steps: 00-converted.onnx, 01-fold.onnx."""
    names: list[str] = []

    def write(name: str, model: Model) -> None:
        write_copy(model, folder / f"{len(names):02}-{name}.onnx")
        names.append(name)

    return write

"""Puts pre- and post-processing around a converted model; the result is a source model again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from neo.errors import MissingDependency
from neo.frontends.base import Arrays, SourceModel
from neo.frontends.onnx_file import open_in_onnxruntime
from neo.frontends.samples import random_inputs
from neo.processing.attach import attach
from neo.processing.binding import bind
from neo.processing.documents import Processing
from neo.processing.reference import Reference
from neo.processing.text import TextPreprocess
from neo.runtime.extensions import DISTRIBUTION, extensions_library


def with_processing(source: SourceModel, processing: Processing) -> SourceModel:
    """The result's run is: numpy, the source framework, numpy. No ONNX is involved if the framework is installed.

    Raises InputSpecError or UsageError if the documents do not fit the model, MissingDependency for text without ONNX
    Runtime's extensions.
    """
    if isinstance(processing.preprocess, TextPreprocess) and extensions_library() is None:
        raise MissingDependency(
            f"text is split by {DISTRIBUTION}, which is not installed", hint="pip install 'neo-edge[text]'"
        )
    binding = bind(processing, source.inputs, source.outputs)
    path = _free_name(source.onnx)
    attach(source.onnx, processing, binding, path)
    reference, run = source.reference or source.framework, source.run
    if run is None:
        run, runtime = open_in_onnxruntime(source.onnx)
        reference = f"{runtime} on the converted model"
    whole = Reference(processing, binding, run)
    untouched = set(binding.outputs) & set(source.outputs)
    others = tuple(spec for spec in binding.inputs if binding.raw is None or spec.name != binding.raw.name)

    def draw(count: int, seed: int, max_integer: int) -> tuple[Arrays, ...]:
        def draw_others(rng: np.random.Generator) -> Arrays:
            return random_inputs(others, 1, int(rng.integers(1 << 31)), max_integer)[0]

        return tuple(whole.draw(draw_others, np.random.default_rng([seed, number])) for number in range(count))

    return replace(
        source,
        onnx=path,
        inputs=binding.inputs,
        outputs=binding.outputs,
        run=whole.answer,
        reference=f"{reference}, with pre- and post-processing by numpy",
        proves_conversion=source.run is not None,
        is_original=False,
        draw=draw,
        # special samples have near ties, whose order differs between engines; ``draw`` avoids them
        special=None if processing.postprocess is None else lambda _seed: (),
        any_rows=False,
        labels=binding.labels,
        # the tolerance of a quantised model is in steps of its outputs; it does not apply to what is computed from them
        tolerance={spec.name: source.tolerance[spec.name] for spec in untouched if spec.name in source.tolerance},
    )


def _free_name(onnx: Path) -> Path:
    """Beside the model: its weights may lie there, in files of any name."""
    path = onnx.with_name("with-processing.onnx")
    while path.exists():
        path = path.with_name(f"_{path.name}")
    return path

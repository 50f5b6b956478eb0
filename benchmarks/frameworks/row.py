"""One row, in a process of its own: ``python -m benchmarks.frameworks.row KEY FOLDER``.

It makes the model, converts it as ``neo compile`` does (in a confined process again), rewrites it, and asks it what
the source framework was asked. The result is the last line on standard output.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from benchmarks.frameworks.entries import ENTRIES, Entry, Made
from benchmarks.frameworks.results import CONVERTED, FAILED, SKIPPED, Row
from benchmarks.reference import Arrays, reference_outputs
from neo.contract.parity import Parity, compare
from neo.errors import MissingDependency, NeoError
from neo.frontends.base import Conversion, ConversionRequest
from neo.frontends.recognise import recognise
from neo.frontends.sandbox import convert
from neo.graph.confined import rewrite_confined

SAMPLES = 3


def run(entry: Entry, folder: Path) -> Row:
    """folder: empty. What goes wrong is in the row."""
    row = Row(entry.key, entry.model, entry.framework, entry.format, FAILED)
    try:
        return _converted(row, _make(entry, folder / "made"), folder)
    except MissingDependency as error:
        return replace(row, status=SKIPPED, reason=error.message)
    except NeoError as error:
        return replace(row, reason=f"{type(error).__name__}: {error.message.replace(f'{folder}/made/', '')}")
    except Exception as error:  # noqa: BLE001  # whatever a framework raises is a row of the table
        return replace(row, reason=f"the model could not be made: {type(error).__name__}: {error}"[:500])


def _make(entry: Entry, folder: Path) -> Made:
    folder.mkdir()
    module, function = entry.maker.split(":")
    made: Made = getattr(importlib.import_module(f"benchmarks.frameworks.makers.{module}"), function)(
        folder, **entry.argument
    )
    return made


def _converted(row: Row, made: Made, folder: Path) -> Row:
    scratch, graph = folder / "convert", folder / "graph"
    for place in (scratch, graph):
        place.mkdir()
    start = time.perf_counter()
    request = ConversionRequest(
        made.source,
        recognise(made.source),
        scratch,
        inputs=made.inputs,
        samples=SAMPLES,
        trust_pickle=made.trust_pickle,
    )
    conversion = convert(request)
    seconds = time.perf_counter() - start
    if conversion.parity is None:
        return replace(row, reason=f"nobody to compare with: {conversion.reference}")
    model = rewrite_confined(conversion.onnx, graph)
    parity, top1 = _agreement(conversion, model)
    return replace(
        row,
        status=CONVERTED,
        reference=conversion.reference,
        samples=len(conversion.samples),
        max_abs=parity.max_abs,
        max_rel=parity.max_rel,
        limit=made.max_rel,
        top1=top1,
        seconds=round(seconds, 2),
        nodes=(_nodes(conversion.onnx), _nodes(model)),
    )


def _agreement(conversion: Conversion, model: Path) -> tuple[Parity, bool | None]:
    worst = Parity(0.0, 0.0)
    agreed: list[bool] = []
    for sample in conversion.samples:
        answers = reference_outputs(model, sample.inputs)
        worst = worst.worst(compare(sample.outputs, answers))
        agreed += _top1(sample.outputs, answers)
    return worst, all(agreed) if agreed else None


def _top1(wanted: Arrays, found: Arrays) -> list[bool]:
    """For outputs of the shape (N, classes)."""
    scores = [
        name for name, array in wanted.items() if array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind == "f"
    ]
    return [bool(np.array_equal(wanted[name].argmax(1), found[name].argmax(1))) for name in scores]


def _nodes(path: Path) -> int:
    return len(onnx.load(path, load_external_data=False).graph.node)


def main(key: str, folder: Path) -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    entry = next(entry for entry in ENTRIES if entry.key == key)
    with answers:
        answers.write(run(entry, folder).to_line() + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

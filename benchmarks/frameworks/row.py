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
from functools import partial
from pathlib import Path

from benchmarks.frameworks.agreement import agreement, spread
from benchmarks.frameworks.entries import ENTRIES, Asked, Entry, Made
from benchmarks.frameworks.results import CONVERTED, FAILED, SKIPPED, Row
from benchmarks.reference import reference_outputs
from neo.errors import MissingDependency, NeoError
from neo.frontends.base import Conversion, ConversionRequest, Sample
from neo.frontends.recognise import recognise
from neo.frontends.sandbox import convert
from neo.graph.confined import rewrite_confined
from neo.onnx_tools.files import load

SAMPLES = 4


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
    conversion = convert(_request(row, made, scratch))
    seconds = time.perf_counter() - start
    if conversion.parity is None:
        return replace(row, reason=f"nobody to compare with: {conversion.reference}")
    model = rewrite_confined(conversion.onnx, graph)
    asked = [_sample(conversion, one) for one in made.asked]
    found = agreement(partial(reference_outputs, model), [*conversion.samples, *asked], table=made.table)
    return replace(
        row,
        status=CONVERTED,
        reference=conversion.reference,
        inputs=found.inputs,
        max_abs=found.parity.max_abs,
        max_rel=found.parity.max_rel,
        limit=made.max_rel,
        top1=found.top1,
        spread=spread(asked or conversion.samples, table=made.table),
        seconds=round(seconds, 2),
        nodes=(_nodes(conversion.onnx), _nodes(model)),
    )


def _request(row: Row, made: Made, scratch: Path) -> ConversionRequest:
    return ConversionRequest(
        made.source,
        row.framework if made.factory else recognise(made.source, trust_pickle=made.trust_pickle),
        scratch,
        inputs=made.inputs,
        outputs=made.outputs,
        samples=SAMPLES,
        trust_pickle=made.trust_pickle,
        factory=made.factory,
    )


def _sample(conversion: Conversion, asked: Asked) -> Sample:
    return Sample(
        {spec.name: array for spec, array in zip(conversion.inputs, asked.inputs, strict=True)},
        {spec.name: array for spec, array in zip(conversion.outputs, asked.outputs, strict=True)},
    )


def _nodes(path: Path) -> int:
    return len(load(path, weights=False).graph.node)


def main(key: str, folder: Path) -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    entry = next(entry for entry in ENTRIES if entry.key == key)
    with answers:
        answers.write(run(entry, folder).to_line() + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

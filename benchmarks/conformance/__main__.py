"""``python -m benchmarks.conformance``: how many of ONNX's own cases our engines pass, and ONNX Runtime by itself."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from benchmarks.conformance.cases import KINDS, case_names
from benchmarks.conformance.outcome import AUTO
from benchmarks.conformance.pool import Result, run_cases
from benchmarks.conformance.report import summary
from benchmarks.options import errors_as_messages, progress
from neo.engines import ENGINES
from neo.errors import UsageError
from neo.runtime.load import available_cores


@click.command(epilog="Example: python -m benchmarks.conformance --engine onnxruntime --only softmax")
@click.option(
    "--engine",
    default=AUTO,
    show_default=True,
    type=click.Choice([AUTO, *ENGINES]),
    help="auto: every engine that a compilation may choose has to pass.",
)
@click.option("--kinds", default=",".join(KINDS), show_default=True, help="Kinds of cases.")
@click.option("--only", default="", help="Cases whose name contains this.")
@click.option("--every", default=1, show_default=True, type=click.IntRange(1), help="Every so manieth case only.")
@click.option("--jobs", default=available_cores, type=click.IntRange(1), help="Processes. [default: one per core]")
@click.option("--limit", "limit_s", default=300.0, show_default=True, help="Seconds for an engine on one case.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write results there.")
def main(  # noqa: PLR0917  # one parameter per option
    engine: str, kinds: str, only: str, every: int, jobs: int, limit_s: float, json_file: Path | None
) -> None:
    """ONNX's conformance cases from the file to the answer, beside ONNX Runtime on the same cases.

    Ends with code 1 if we pass fewer than ONNX Runtime.
    """
    with errors_as_messages():
        chosen = kinds.split(",")
        unknown = [kind for kind in chosen if kind not in KINDS]
        if unknown:
            raise UsageError(f"no kind {unknown[0]!r} of cases", hint=f"there are {', '.join(KINDS)}")
        cases = [(kind, name) for kind in chosen for name in case_names(kind) if only in name][::every]
        engines = tuple(ENGINES) if engine == AUTO else (engine,)
        results: list[Result] = []
        for result in run_cases(cases, engines, jobs, limit_s):
            results.append(result)
            if len(results) % 100 == 0:
                progress(f"{len(results)} of {len(cases)} cases")
        results.sort(key=lambda result: cases.index((result.kind, result.name)))
        if json_file:
            document = {"engine": engine, "cases": [result.to_json() for result in results]}
            json_file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        text, fewer = summary(results, engines)
        click.echo(text)
    sys.exit(1 if fewer else 0)


if __name__ == "__main__":
    main()

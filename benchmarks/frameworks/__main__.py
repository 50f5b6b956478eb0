"""``python -m benchmarks.frameworks``: public architectures through our conversion; writes docs/frameworks.md."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

import click

from benchmarks.frameworks.entries import ENTRIES, Entry
from benchmarks.frameworks.results import FAILED, Row, document, read_rows, table
from benchmarks.options import errors_as_messages, progress
from neo.errors import UsageError
from neo.runtime.load import available_cores

_MEMORY_GIB = "12"
_ROOT = Path(__file__).parents[2]
_PACKAGES = ("onnx", "onnxruntime", "torch", "transformers", "tensorflow-cpu", "tensorflow", "keras", "tf2onnx")
_PACKAGES_CLASSICAL = ("scikit-learn", "skl2onnx", "xgboost", "xgboost-cpu", "lightgbm")
_COMMAND = "python -m benchmarks.frameworks --markdown docs/frameworks.md"


def run_row(entry: Entry, limit_s: float) -> Row:
    """In a process of its own: what takes it down costs one row."""
    lost = Row(entry.key, entry.model, entry.framework, entry.format, FAILED)
    with tempfile.TemporaryDirectory(prefix="neo-frameworks-") as folder:
        command = [sys.executable, "-m", "benchmarks.confined", _MEMORY_GIB, "benchmarks.frameworks.row"]
        command += [entry.key, folder]
        # the makers' libraries are as talkative as they are large
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        environment |= {"KERAS_BACKEND": "tensorflow", "PYTHONWARNINGS": "ignore"}
        try:
            done = subprocess.run(
                command, cwd=_ROOT, env=environment, capture_output=True, text=True, check=False, timeout=limit_s
            )
        except subprocess.TimeoutExpired:
            return replace(lost, reason=f"not finished after {limit_s:g} s")
        if done.returncode or not done.stdout:
            said = done.stderr.strip()[-300:]
            return replace(lost, reason=f"its process ended with code {done.returncode}: {said}")
        return Row.from_line(done.stdout.splitlines()[-1])


def run_rows(entries: Sequence[Entry], jobs: int, limit_s: float) -> Iterator[Row]:
    """As they are ready."""
    with ThreadPoolExecutor(jobs) as pool:
        for future in as_completed([pool.submit(run_row, entry, limit_s) for entry in entries]):
            yield future.result()


@click.command(epilog="Example: python -m benchmarks.frameworks --only keras/ --json rows.jsonl")
@click.option("--only", multiple=True, help="Rows whose key framework/model/format contains this; may be repeated.")
@click.option("--jobs", default=available_cores, type=click.IntRange(1), help="Rows at once. [default: one per core]")
@click.option("--limit", "limit_s", default=600.0, show_default=True, help="Seconds that a row may take.")
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Rows as lines of JSON; what has been converted there already is not done again.",
)
@click.option("--markdown", type=click.Path(path_type=Path, dir_okay=False), help="Write the document there.")
@click.option("--list", "only_list", is_flag=True, help="List the rows and do nothing.")
def main(  # noqa: PLR0917  # one parameter per option
    only: tuple[str, ...], jobs: int, limit_s: float, json_file: Path | None, markdown: Path | None, only_list: bool
) -> None:
    """Convert every model of the table and compare it with its source framework.

    Ends with code 1 if a row does not agree with its source. For MXNet and Chainer, export NEO_MXNET_PYTHON and
    NEO_CHAINER_PYTHON.
    """
    with errors_as_messages():
        chosen = [entry for entry in ENTRIES if not only or any(part in entry.key for part in only)]
        if not chosen:
            raise UsageError(f"no row contains {' or '.join(only)}", hint="--list shows them")
        if only_list:
            click.echo("\n".join(entry.key for entry in chosen))
            return
        known = {key: row for key, row in (read_rows(json_file) if json_file else {}).items() if row.good}
        rows = _all_rows(chosen, known, jobs, limit_s, json_file)
        click.echo(table(rows))
        for row in rows:
            if not row.good:
                click.echo(f"{row.key}: {row.status}: {row.reason or 'outside its limit'}")
        if markdown:
            markdown.write_text(document(rows, _versions(), _COMMAND), encoding="utf-8")
    sys.exit(0 if all(row.good or row.status == "skipped" for row in rows) else 1)


def _all_rows(
    chosen: Sequence[Entry], known: dict[str, Row], jobs: int, limit_s: float, json_file: Path | None
) -> list[Row]:
    missing = [entry for entry in chosen if entry.key not in known]
    rows = {entry.key: known[entry.key] for entry in chosen if entry.key in known}
    for row in run_rows(missing, jobs, limit_s):
        rows[row.key] = row
        progress(f"{len(rows)} of {len(chosen)}: {row.key}: {row.status} {row.reason[:100]}")
        if json_file:
            with json_file.open("a", encoding="utf-8") as file:
                file.write(row.to_line() + "\n")
    return [rows[entry.key] for entry in chosen]


def _versions() -> dict[str, str]:
    found = {}
    for package in (*_PACKAGES, *_PACKAGES_CLASSICAL):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main()

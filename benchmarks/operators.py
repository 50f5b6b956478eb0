"""``python -m benchmarks.operators``: every convolution and matrix product of a network alone, ours and the peers'."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.build import build
from benchmarks.options import (
    choose_names,
    describe_run,
    errors_as_messages,
    headline,
    pace_options,
    parse_threads,
    progress,
)
from benchmarks.peak import peak_gflops
from benchmarks.race import Entry, Pace, Timing, race
from benchmarks.results import TVM
from benchmarks.single_operators import MODEL_FILE, Operator, heavy_operators, reference_product, write_operator
from benchmarks.tables import markdown_table, one_line
from benchmarks.zoo import ZOO, model_folder
from neo.errors import NeoError
from neo.runtime.host import read_host
from neo.targets import HOST, load_target

PEERS = {"ort": "onnxruntime", "openvino": "openvino"}
NOTHING = "-"


@dataclass(frozen=True, slots=True)
class OperatorCase:
    """results: by engine, how one operator of a network did, or why it is out."""

    model: str
    operator: Operator
    threads: int
    results: dict[str, Timing | NeoError]

    def gflops(self, name: str) -> float | None:
        """GFLOP/s."""
        result = self.results[name]
        return self.operator.flops / result.median_ms / 1e6 if isinstance(result, Timing) else None

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "operator": self.operator.name,
            "count": self.operator.count,
            "flops": self.operator.flops,
            "threads": self.threads,
            "results": {name: result.to_json() for name, result in self.results.items()},
            "gflops": {name: self.gflops(name) for name in self.results},
        }


def measure_operator(model: str, operator: Operator, threads: Sequence[int], pace: Pace) -> list[OperatorCase]:
    """What fails is in the case."""
    with tempfile.TemporaryDirectory(prefix="neo-operator-") as scratch:
        folder = Path(scratch)
        write_operator(operator, folder)
        entries = {name: Entry(library, folder / MODEL_FILE, folder, "fp32") for name, library in PEERS.items()}
        failed: dict[str, NeoError] = {}
        try:
            entries = {TVM: Entry("neo", _build(folder, pace), folder, "fp32"), **entries}
        except NeoError as error:
            failed[TVM] = error
        return [OperatorCase(model, operator, count, {**failed, **race(entries, count, pace)}) for count in threads]


def _build(folder: Path, pace: Pace) -> Path:
    return build("tvm", folder / MODEL_FILE, folder / TVM, pace.limit_s).folder


def operator_table(cases: Sequence[OperatorCase], peak: float) -> str:
    """cases: of one number of threads. peak: GFLOP/s of that many threads."""
    names = [TVM, *PEERS]
    header = ["operator", "times", "MFLOP", *(f"{name} GFLOP/s" for name in names), "tvm/peak", "peer/tvm"]
    rows = []
    for case in cases:
        speeds = {name: case.gflops(name) for name in names}
        ours, peer = speeds[TVM], max((speeds[name] or 0.0 for name in PEERS), default=0.0)
        rows.append(
            [
                f"{case.model}: {case.operator.name}",
                str(case.operator.count),
                f"{case.operator.flops / 1e6:.1f}",
                *(NOTHING if speed is None else f"{speed:.1f}" for speed in speeds.values()),
                NOTHING if ours is None else f"{ours / peak:.0%}",
                NOTHING if ours is None or not peer else f"{ours / peer:.2f}",
            ]
        )
    return markdown_table(header, rows)


def _totals(cases: Sequence[OperatorCase], peak: float) -> str:
    """Per network: the sum of its operators' times, every one as often as the network has it."""
    names = [TVM, *PEERS]
    rows = []
    for model in dict.fromkeys(case.model for case in cases if case.operator.count):
        own = [case for case in cases if case.model == model]
        flops = sum(case.operator.flops * case.operator.count for case in own)
        times = {name: _sum_ms(own, name) for name in names}
        shares = [NOTHING if time is None else f"{flops / time / 1e6 / peak:.0%}" for time in times.values()]
        rows.append([model, *(NOTHING if time is None else f"{time:.2f}" for time in times.values()), *shares])
    header = ["sum of operators", *(f"{name} ms" for name in names), *(f"{name}/peak" for name in names)]
    return markdown_table(header, rows)


def _sum_ms(cases: Sequence[OperatorCase], name: str) -> float | None:
    total = 0.0
    for case in cases:
        result = case.results[name]
        if not isinstance(result, Timing):
            return None
        total += result.median_ms * case.operator.count
    return total


def _remarks(cases: Sequence[OperatorCase]) -> list[str]:
    return [
        f"- {case.model}: {case.operator.name}: {name} is out: {one_line(result.message)}"
        for case in cases
        for name, result in case.results.items()
        if not isinstance(result, Timing)
    ]


def report(cases: Sequence[OperatorCase], peaks: dict[int, float]) -> str:
    parts = []
    for threads, peak in peaks.items():
        these = [case for case in cases if case.threads == threads]
        title = f"## {threads} thread{'s' if threads > 1 else ''}; the processor's peak is {peak:.0f} GFLOP/s in fp32"
        parts += [f"{title}\n\n{operator_table(these, peak)}", _totals(these, peak)]
        if remarks := _remarks(these):
            parts.append("\n".join(remarks))
    return "\n\n".join(parts)


def write_json(path: Path | None, run: dict[str, Any], peaks: dict[int, float], cases: Sequence[OperatorCase]) -> None:
    if path is not None:
        document = {"run": run, "peak_gflops": peaks, "cases": [case.to_json() for case in cases]}
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


@click.command(epilog="Example: python -m benchmarks.operators --models resnet50 --threads 1,2 --json operators.json")
@click.option("--models", default="resnet50,bert_base", show_default=True, help=f"Some of: {', '.join(ZOO)}.")
@pace_options(seconds=0.3)
def main(  # noqa: PLR0917  # one parameter per option
    models: str, threads: str, rounds: int, seconds: float, limit_s: float, cache: Path, json_file: Path | None
) -> None:
    """GFLOP/s of every distinct convolution and matrix product, and its share of the processor's measured peak.

    The operands of one operator by itself stay in the caches, so the sum is less than the network takes.
    """
    with errors_as_messages():
        pace, target = Pace(rounds, seconds, limit_s), load_target(HOST)
        names, counts = choose_names(models, tuple(ZOO)), parse_threads(threads)
        run, peaks = describe_run(read_host(), pace), {count: peak_gflops(target, count) for count in counts}
        work = [("reference", reference_product())]
        for name in names:
            work += [(name, operator) for operator in heavy_operators(model_folder(name, cache.resolve()) / MODEL_FILE)]
        cases: list[OperatorCase] = []
        for index, (name, operator) in enumerate(work, 1):
            progress(f"{index}/{len(work)} {name}: {operator.name}")
            cases += measure_operator(name, operator, counts, pace)
            # after every operator: a long run that is stopped is not lost
            write_json(json_file, run, peaks, cases)
        # once more: the machine may have been busier at one end of the run
        peaks = {count: max(peak, peak_gflops(target, count)) for count, peak in peaks.items()}
        write_json(json_file, run, peaks, cases)
        click.echo(f"{headline(run)}\n\n{report(cases, peaks)}")


if __name__ == "__main__":
    main()

"""``python -m benchmarks.recurrent``: LSTM, GRU and RNN cells of many sizes alone, ours and the peers'."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
from onnx import helper, numpy_helper

from benchmarks.operators import NOTHING, PEERS, OperatorCase, measure_operator, write_json
from benchmarks.options import (
    describe_run,
    errors_as_messages,
    headline,
    pace_options,
    parse_numbers,
    parse_threads,
    progress,
)
from benchmarks.peak import peak_gflops
from benchmarks.race import Pace, Timing
from benchmarks.results import TVM, geometric_mean
from benchmarks.single_operators import SEED, Operator
from benchmarks.tables import markdown_table, one_line
from neo.contract.device import Target
from neo.errors import UsageError
from neo.runtime.host import read_host
from neo.targets import HOST, load_target

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
OPSET, IR_VERSION = 18, 10


def recurrent_operator(cell: str, *, directions: int, hidden: int, batch: int, steps: int) -> Operator:
    """One node with as many inputs as hidden units, as PyTorch exports it, without states before the first step."""
    rng, gates, node_name = np.random.default_rng(SEED), GATES[cell] * hidden, f"{cell} {hidden} {batch} {steps}"
    # of PyTorch's size: the states neither die nor saturate
    shapes = {"w": (directions, gates, hidden), "r": (directions, gates, hidden), "b": (directions, 2 * gates)}
    limit = hidden**-0.5
    weights = [
        numpy_helper.from_array(rng.uniform(-limit, limit, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    attributes: dict[str, Any] = {"hidden_size": hidden, "direction": "bidirectional" if directions == 2 else "forward"}
    if cell == "GRU":
        attributes["linear_before_reset"] = 1
    node = helper.make_node(cell, ["x", "w", "r", "b"], ["y"], **attributes)
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (steps, batch, hidden))
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (steps, directions, batch, hidden))
    graph = helper.make_graph([node], "recurrent", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    name = f"{'bidirectional ' if directions == 2 else ''}{node_name}"
    return Operator(name, model, 1, 2 * steps * batch * directions * gates * 2 * hidden)


def recurrent_table(cases: Sequence[OperatorCase], peak: float) -> str:
    """cases: of one number of threads. peak: GFLOP/s of that many threads."""
    names = [TVM, *PEERS]
    rows, ratios = [], []
    for case in cases:
        times = {name: _best_us(case, name) for name in names}
        ours, peers = times[TVM], [time for name in PEERS if (time := times[name]) is not None]
        ratios.append(min(peers) / ours if ours and peers else None)
        *cell, hidden, batch, steps = case.operator.name.split()
        rows.append(
            [
                " ".join(cell),
                *(hidden, batch, steps),
                *(NOTHING if time is None else f"{time:.0f}" for time in times.values()),
                NOTHING if ours is None else f"{case.operator.flops / ours / 1e3 / peak:.0%}",
                NOTHING if ratios[-1] is None else f"{ratios[-1]:.2f}",
            ]
        )
    mean = geometric_mean(ratios)
    rows.append(["geometric mean", *[""] * (len(rows[0]) - 2), NOTHING if mean is None else f"{mean:.2f}"])
    header = ["cell", "hidden", "batch", "steps", *(f"{name} us" for name in names), "tvm/peak", "peer/tvm"]
    return markdown_table(header, rows)


def _best_us(case: OperatorCase, name: str) -> float | None:
    """Microseconds: of the round with the lowest median, because small cells are the first to notice other work."""
    result = case.results[name]
    return min(result.round_ms) * 1e3 if isinstance(result, Timing) else None


def report(cases: Sequence[OperatorCase], peaks: dict[int, float]) -> str:
    parts = []
    for threads, peak in peaks.items():
        these = [case for case in cases if case.threads == threads]
        title = f"## {threads} thread{'s' if threads > 1 else ''}; the processor's peak is {peak:.0f} GFLOP/s in fp32"
        parts += [f"{title}\n\n{recurrent_table(these, peak)}", *_remarks(these)]
    return "\n\n".join(parts)


def _remarks(cases: Sequence[OperatorCase]) -> Iterator[str]:
    for case in cases:
        for name, result in case.results.items():
            if not isinstance(result, Timing):
                yield f"- {case.operator.name}: {name} is out: {one_line(result.message)}"


def choose_cells(text: str) -> tuple[str, ...]:
    """Read "LSTM,GRU". Raises UsageError for anything but cells."""
    cells = tuple(dict.fromkeys(text.upper().split(",")))
    if unknown := [cell for cell in cells if cell not in GATES]:
        raise UsageError(f"there is no cell {unknown[0]!r}", hint=f"these are: {', '.join(GATES)}")
    return cells


def _peaks(target: Target, counts: Sequence[int]) -> dict[int, float]:
    """GFLOP/s by number of threads: many short tries, some of which no other work interrupts."""
    return {count: peak_gflops(target, count, seconds=0.02, tries=50) for count in counts}


def _read_directions(text: str) -> tuple[int, ...]:
    found = parse_numbers("--directions", text)
    if max(found) > 2:
        raise UsageError(f"--directions {text}", hint="write 1 for forward, 2 for bidirectional, or 1,2")
    return found


@click.command(epilog="Example: python -m benchmarks.recurrent --cells LSTM --hidden 128 --batch 1,16 --threads 1,2")
@click.option("--cells", default="LSTM,GRU", show_default=True, help=f"Some of: {', '.join(GATES)}.")
@click.option("--hidden", default="64,128,256,512", show_default=True, help="Numbers of hidden units, and of inputs.")
@click.option("--batch", default="1,4,16", show_default=True, help="Numbers of sequences.")
@click.option("--steps", default="32", show_default=True, help="Lengths of the sequences.")
@click.option("--directions", default="1,2", show_default=True, help="1: forward, 2: bidirectional.")
@click.option(
    "--clock",
    default="wall",
    show_default=True,
    type=click.Choice(["wall", "cpu"]),
    help="cpu, for one thread: the processor time of the engine's process, for a machine that does other things too.",
)
@pace_options(seconds=0.1, models=False)
def main(  # noqa: PLR0917  # one parameter per option
    cells: str,
    hidden: str,
    batch: str,
    steps: str,
    directions: str,
    clock: str,
    threads: str,
    rounds: int,
    seconds: float,
    limit_s: float,
    json_file: Path | None,
) -> None:
    """Times of recurrent cells, and the share of the processor's measured peak that ours reach.

    The time of an engine is the lowest of the medians of its rounds.
    """
    with errors_as_messages():
        pace, target, counts = Pace(rounds, seconds, limit_s, clock), load_target(HOST), parse_threads(threads)
        if clock == "cpu" and counts != (1,):
            raise UsageError("--clock cpu adds up all threads", hint="write --threads 1, or --clock wall")
        run, peaks = describe_run(read_host(), pace), _peaks(target, counts)
        work = [
            recurrent_operator(cell, directions=ways, hidden=units, batch=rows, steps=length)
            for cell in choose_cells(cells)
            for ways, units, rows, length in itertools.product(
                _read_directions(directions),
                parse_numbers("--hidden", hidden),
                parse_numbers("--batch", batch),
                parse_numbers("--steps", steps),
            )
        ]
        cases: list[OperatorCase] = []
        for index, operator in enumerate(work, 1):
            progress(f"{index}/{len(work)} {operator.name}")
            cases += measure_operator("recurrent", operator, counts, pace)
            # after every cell: a long run that is stopped is not lost
            write_json(json_file, run, peaks, cases)
        # once more: the machine may have been busier at one end of the run
        again = _peaks(target, counts)
        peaks = {count: max(peak, again[count]) for count, peak in peaks.items()}
        write_json(json_file, run, peaks, cases)
        click.echo(f"{headline(run)}; {clock} time\n\n{report(cases, peaks)}")


if __name__ == "__main__":
    main()

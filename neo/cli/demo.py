"""`neo demo`."""

from __future__ import annotations

import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neo.cli.options import json_option
from neo.cli.output import emit, progress_console

if TYPE_CHECKING:
    from neo.demo.processes import Started
    from neo.demo.run import DemoResult


@click.command("demo", epilog="Example: neo demo --framework mxnet --keep")
@click.option(
    "--framework",
    type=click.Choice(["pytorch", "keras", "mxnet"]),
    help="What the model is trained with. [default: the first that is installed; mxnet needs none]",
)
@click.option("--keep", is_flag=True, help="Leave broker and agent running, and say how to go on and how to stop.")
@json_option
def demo_command(framework: str | None, keep: bool, as_json: bool) -> None:
    """Train a digits classifier, compile it, ship it to an agent on this machine and compare the answers."""
    from neo.demo.processes import naming_who_ended
    from neo.demo.run import choose_framework, run_demo

    chosen = choose_framework(framework)
    folder = Path(tempfile.mkdtemp(prefix="neo-demo-"))
    started: list[Started] = []
    # a plain kill stops the children too
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    done = False
    try:
        with progress_console().status("starting") as status, naming_who_ended(started):
            result = run_demo(chosen, folder, status.update, started)
        done = True
    finally:
        if not (keep and done):
            for process in reversed(started):
                process.stop()
            shutil.rmtree(folder, ignore_errors=True)
    value = result.to_json()
    if keep:
        value |= {"folder": str(folder), "broker": result.broker_url, "url": result.device_url, "pids": result.pids}
    emit(value, as_json, lambda console: _show(console, result, folder if keep else None))


def _show(console: Any, result: DemoResult, folder: Path | None) -> None:
    from rich.table import Table

    row = result.to_json()
    parity = row["parity"] or {"max_rel": None}
    lines = [
        ("accuracy, source framework", f"{row['accuracy_source']:.2%} of {row['images']} held-out images"),
        ("accuracy, on the device", f"{row['accuracy_device']:.2%}"),
        ("same answer", f"{row['agreement']:.2%} of the images, outputs differ by {row['max_abs']:.1e} at most"),
        *(
            (f"latency, {engine}", "not built" if ms is None else f"{ms:.3f} ms")
            for engine, ms in row["latency_ms"].items()
        ),
        ("engine kept", f"{row['engine']}, largest relative error {parity['max_rel']:.1e}"),
        ("bundle", f"{row['reference']}, {row['size_bytes'] / 1e6:.1f} MB"),
        ("live on the device", row["live_digest"]),
        ("seconds", ", ".join(f"{step} {value}" for step, value in row["seconds"].items())),
    ]
    table = Table(box=None, show_header=False, pad_edge=False, title=f"trained with {row['framework']}")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in lines:
        table.add_row(name, text)
    console.print(table)
    if folder is not None:
        pids = " ".join(str(pid) for pid in result.pids.values())
        console.print(
            f"\nstill running; to go on:\n"
            f"  export NEO_BROKER={result.broker_url} NEO_STORE={folder}/store NEO_KEY={folder}/operator.key\n"
            f"  neo status\n  neo inspect\n  curl {result.device_url}/v2/models/digits\n"
            f"to stop:\n  kill {pids}; rm -r {folder}",
            markup=False,
        )

"""`neo tune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neo.cli.options import PathArgument, json_option
from neo.cli.output import emit

if TYPE_CHECKING:
    from neo.engines.tuning import Document

EXAMPLES = """\b
Examples:
  neo compile resnet.pt2 --target raspberry-pi-4 --tune 120    (on such a machine: measures, and keeps what is faster)
  neo tune export pi4.json --target raspberry-pi-4             (there)
  neo tune import pi4.json                                     (here: builds for that target use it from now on)
"""


@click.group("tune", epilog=EXAMPLES)
def tune_command() -> None:
    """Show, export and import what `neo compile --tune` measured. NEO_TUNING is the folder where it is kept."""


@tune_command.command("show", epilog="Example: neo tune show")
@json_option
def show(as_json: bool) -> None:
    """List what was measured here, imported, or came with the package."""
    from neo.compiler.search import summaries
    from neo.settings import tuning_path

    rows = [summary.to_json() for summary in summaries()]
    result = {"folder": str(tuning_path()), "documents": rows}

    def human(console: Any) -> None:
        from rich.markup import escape
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for column in ("targets", "processor", "versions", "kernels", "faster", "by", "from"):
            table.add_column(column)
        for row in rows:
            machine = row["machine"]
            table.add_row(
                ", ".join(row["targets"]) or "-",
                escape(f"{machine.get('arch')} {machine.get('mcpu')}, {machine.get('cores')} cores"),
                escape(f"tvm {row['tvm']}") + ("" if row["current"] else " (not used)"),
                str(row["kernels"]),
                str(row["faster"]),
                f"{row['gain']:.2f}",
                "package" if row["shipped"] else "here",
            )
        console.print(table if rows else "nothing was measured yet: neo compile MODEL --tune 60")
        console.print(f"in {result['folder']}", markup=False)

    emit(result, as_json, human)


@tune_command.command("export", epilog="Example: neo tune export pi4.json --target raspberry-pi-4")
@click.argument("file", type=PathArgument(dir_okay=False))
@click.option("--target", "targets", multiple=True, help="Only for this target. [default: all]")
@json_option
def export(file: Path, targets: tuple[str, ...], as_json: bool) -> None:
    """Write what was measured here to FILE, for `neo tune import` on another machine."""
    from neo.compiler.search import export_tuning

    _print("wrote", file, export_tuning(file, targets), as_json)


@tune_command.command("import", epilog="Example: neo tune import pi4.json")
@click.argument("file", type=PathArgument(exists=True, dir_okay=False))
@json_option
def import_command(file: Path, as_json: bool) -> None:
    """Add what FILE has to what was measured here; builds use it from now on."""
    from neo.compiler.search import import_tuning

    _print("read", file, import_tuning(file), as_json)


@tune_command.command("forget", epilog="Example: neo tune forget host")
@click.argument("target")
@json_option
def forget(target: str, as_json: bool) -> None:
    """Remove what was measured for TARGET, to measure it anew: the machine was busy, or is another now."""
    from neo.compiler.search import forget_tuning

    count = forget_tuning(target)
    emit({"target": target, "kernels": count}, as_json, lambda console: console.print(f"forgot {count} kernels"))


def _print(did: str, file: Path, documents: tuple[Document, ...], as_json: bool) -> None:
    unused = sum(not document.is_current for document in documents)
    kernels = sum(len(document.kernels) for document in documents)
    result = {"file": str(file), "documents": len(documents), "kernels": kernels, "unused": unused}

    def human(console: Any) -> None:
        console.print(f"{did} {file}: {kernels} kernels", markup=False)
        if unused:
            console.print("some are of another version and not used: neo tune show")

    emit(result, as_json, human)

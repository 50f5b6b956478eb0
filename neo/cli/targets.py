"""`neo targets`."""

from __future__ import annotations

from typing import Any

import click

from neo.cli.options import json_option
from neo.cli.output import emit


@click.command("targets", epilog="Example: neo targets raspberry-pi-4")
@click.argument("name", required=False)
@json_option
def targets_command(name: str | None, as_json: bool) -> None:
    """List the targets that `neo compile --target` knows, or show the one called NAME (or a .toml file)."""
    from neo.targets import HOST, list_targets, load_target

    if name is not None:
        shown = load_target(name).to_json()
        emit(shown, as_json, lambda console: console.print_json(data=shown))
        return
    targets = [load_target(HOST), *list_targets()]

    def human(console: Any) -> None:
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for column in ("target", "processor", "what it is"):
            table.add_column(column)
        for target in targets:
            table.add_row(target.name, f"{target.cpu.arch} {target.cpu.mcpu}", target.description)
        console.print(table)

    emit({"targets": [target.to_json() for target in targets]}, as_json, human)

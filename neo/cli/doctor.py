"""`neo doctor`."""

from __future__ import annotations

from typing import Any

import click

from neo.cli.options import json_option
from neo.cli.output import emit


@click.command("doctor", epilog="Example: neo doctor --broker mqtt://192.168.1.10")
@click.option("--broker", envvar="NEO_BROKER", help="Also try to reach this broker.")
@json_option
def doctor_command(broker: str | None, as_json: bool) -> int:
    """Check that everything neo needs is in place; exit code 1 if something is broken."""
    from neo.doctor import BROKEN, OK, examine
    from neo.link import BrokerUrl

    findings = examine(None if broker is None else BrokerUrl.parse(broker))
    value = {"findings": [{"check": f.check, "state": f.state, "found": f.found, "fix": f.fix} for f in findings]}

    def human(console: Any) -> None:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, show_header=False, pad_edge=False)
        for finding in findings:
            style = "green" if finding.state == OK else "red" if finding.state == BROKEN else "yellow"
            fix = f"\nfix: {finding.fix}" if finding.fix else ""
            table.add_row(Text(finding.state, style), Text(finding.check), Text(finding.found + fix, overflow="fold"))
        console.print(table)

    emit(value, as_json, human)
    return int(any(finding.state == BROKEN for finding in findings))

"""What every command does with its answer: one JSON object, or something for a person. All else goes to stderr."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console


def emit(value: dict[str, Any], as_json: bool, human: Callable[[Console], None]) -> None:
    """Print value as one line of JSON on stdout, or let human write to a console on stdout."""
    if as_json:
        click.echo(json.dumps(value, ensure_ascii=False))
        return
    from rich.console import Console

    human(Console(highlight=False, soft_wrap=True))


def progress_console() -> Console:
    """On stderr; quiet about spinners and colours when that is no terminal."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)

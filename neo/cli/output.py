"""What every command does with its answer: one JSON object, or something for a person. All else goes to stderr."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console


WIDTH_WITHOUT_TERMINAL = 1000
# of one message: it may repeat what stood on the command line, and that may be a whole file
MOST_CHARACTERS = 4000


def emit(value: dict[str, Any], as_json: bool, human: Callable[[Console], None]) -> None:
    """Print value as one line of JSON on stdout, or let human write to a console on stdout."""
    if as_json:
        click.echo(json.dumps(value, ensure_ascii=False))
        return
    human(_answer_console())


def write_any_text() -> None:
    """Let stdout and stderr take bytes that are no UTF-8, as a file's name may have them: with a backslash for each."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def shortened(text: str) -> str:
    """For a message to a person: not longer than anybody reads."""
    left_out = len(text) - MOST_CHARACTERS
    half = MOST_CHARACTERS // 2
    return text if left_out <= 0 else f"{text[:half]} [... {left_out} characters ...] {text[-half:]}"


def _answer_console() -> Console:
    """On stdout. In a file or a pipe a table's cells are not cut to a terminal's width: `neo inspect | grep` works."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = WIDTH_WITHOUT_TERMINAL
    return console


def warn(text: str) -> None:
    """On stderr, as it is: text may come from a broker."""
    from rich.text import Text

    shown = "".join(char if char.isprintable() else "?" for char in text)
    progress_console().print(Text.assemble(("warning: ", "yellow"), shown), soft_wrap=True)


def progress_console() -> Console:
    """On stderr; quiet about spinners and colours when that is no terminal."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)

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
    from rich.table import Table
    from rich.text import Text


WIDTH_WITHOUT_TERMINAL = 1000
# of one message: it may repeat what stood on the command line, and that may be a whole file
MOST_CHARACTERS = 4000
MOST_IN_A_CELL = 300
# rich takes 0.7 ms to lay out a row; more rows than these are lines with padded cells, which take a tenth of that
MOST_LAID_OUT = 500


def emit(value: dict[str, Any], as_json: bool, human: Callable[[Console], None]) -> None:
    """Print value as one line of JSON on stdout, or let human write to a console on stdout."""
    if as_json:
        click.echo(to_json(value))
        return
    human(_answer_console())


def write_any_text() -> None:
    """Let stdout and stderr take bytes that are no UTF-8, as a file's name may have them: with a backslash for each."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def to_json(value: dict[str, Any]) -> str:
    """One line. What a terminal would obey (JSON escapes only a part of that) is escaped; other text is as it is."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if text.isprintable() else "".join(map(_json_character, text))


def _json_character(character: str) -> str:
    return character if character.isprintable() else json.dumps(character)[1:-1]


def shortened(text: str, most: int = MOST_CHARACTERS) -> str:
    """For a person: not longer than anybody reads, and without what a terminal would obey, whoever wrote it.

    Lines stay, all but the first indented, so that no line of a text passes for one of ours.
    """
    left_out = len(text) - most
    half = most // 2
    cut = text if left_out <= 0 else f"{text[:half]} [... {left_out} characters ...] {text[-half:]}"
    return "\n    ".join(map(_escaped, cut.split("\n")))


def one_line(text: str, most: int = MOST_IN_A_CELL) -> str:
    """As ``shortened``, for a cell of a table or a part of a sentence: the beginning, on one line."""
    cut = text if len(text) <= most else f"{text[: most - 1]}…"
    return _escaped(cut)


def _escaped(text: str) -> str:
    return text if text.isprintable() else "".join(map(_escaped_character, text))


def _escaped_character(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode()


def print_table(out: Console, table: Table) -> None:
    """The table; if it is very long, without wrapping inside cells."""
    from rich.cells import cell_len
    from rich.text import Text

    if table.row_count <= MOST_LAID_OUT:
        out.print(table)
        return
    columns = [[Text(str(column.header), "bold"), *map(_as_text, column.cells)] for column in table.columns]
    widths = [max(cell_len(cell.plain) for cell in column) for column in columns]
    for row in zip(*columns, strict=True):
        parts = [(cell, " " * (width - cell_len(cell.plain) + 2)) for cell, width in zip(row, widths, strict=True)]
        line = Text.assemble(*(part for pair in parts for part in pair))
        line.rstrip()
        out.print(line, soft_wrap=True)


def _as_text(cell: object) -> Text:
    from rich.text import Text

    return cell if isinstance(cell, Text) else Text(str(cell))


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

    progress_console().print(Text.assemble(("warning: ", "yellow"), shortened(text)), soft_wrap=True)


def progress_console() -> Console:
    """On stderr; quiet about spinners and colours when that is no terminal."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)

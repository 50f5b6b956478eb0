"""What people are shown of strings that a device, a broker or a file chose: bounded, and nothing a terminal obeys."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table
from rich.text import Text

from neo.cli import __main__ as command_line
from neo.cli import output
from neo.cli.output import MOST_CHARACTERS, MOST_IN_A_CELL, one_line, shortened, to_json
from neo.errors import DeviceError

# escape sequences, C1 controls, direction overrides, invisible and unpaired characters
HOSTILE = (
    "\x1b[31mred\x1b]0;title\x07 \x9b2J \u202eright-to-left\u2066 \u200bhidden\ufeff \udcff \x00 \r\bback \U000e0001"
)
texts = st.text(st.characters(), max_size=200) | st.just(HOSTILE)


@given(texts)
def test_nothing_that_is_shown_steers_a_terminal(text):
    assert one_line(text).isprintable()
    assert all(line.isprintable() for line in shortened(text).split("\n"))
    assert to_json({"text": text}).isprintable()


@given(texts)
def test_json_is_whole(text):
    assert json.loads(to_json({"text": text, text: 1})) == {"text": text, text: 1}


@given(st.text(max_size=200))
def test_text_that_people_read_is_as_it_is(text):
    plain = "".join(character for character in text if character.isprintable())
    assert one_line(plain) == shortened(plain) == plain


def test_what_is_long_is_cut_and_the_cut_is_said():
    assert len(one_line("x" * 10**6)) == MOST_IN_A_CELL
    assert len(shortened("x" * 10**6)) < MOST_CHARACTERS + 100
    assert f"{10**6 - MOST_CHARACTERS} characters" in shortened("x" * 10**6)


def test_an_error_of_a_device_cannot_pass_for_a_line_of_ours(capsys, monkeypatch):
    error = DeviceError(f"device d: {HOSTILE}\nerror: forged\n\x1b[2Jok", hint=HOSTILE)

    def fail(**_) -> None:
        raise error

    monkeypatch.setattr(command_line.neo, "main", fail)
    for arguments in (["status"], ["status", "--json"]):
        with pytest.raises(SystemExit) as caught:
            command_line.main(arguments)
        said = capsys.readouterr()
        assert caught.value.code == DeviceError.exit_code
        shown = said.err.replace("\x1b[31m\x1b[1merror: \x1b[0m", "").replace("\x1b[36m  try: \x1b[0m", "")
        assert all(line.isprintable() for line in shown.split("\n")), ascii(shown)
        assert not any(line.startswith(("error: forged", "ok")) for line in shown.split("\n"))
    assert json.loads(said.out)["message"] == error.message


def test_a_very_long_table_is_laid_out_as_a_short_one(monkeypatch):
    table = Table(box=None, pad_edge=False)
    for column in ("device", "", "live"):
        table.add_column(column, overflow="fold")
    for number in range(20):
        table.add_row(f"d{number}" * (number % 3), Text("online", "green"), "" if number % 2 else "x漢")

    def lines(most: int) -> list[str]:
        monkeypatch.setattr(output, "MOST_LAID_OUT", most)
        console = Console(file=io.StringIO(), width=1000, soft_wrap=True, highlight=False)
        output.print_table(console, table)
        return [line.rstrip() for line in console.file.getvalue().splitlines()]

    assert lines(0) == lines(500)

"""Nobody who can send to the device can fill its disk by way of the log."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field

import pytest

from edge_agent.core.logs import MAX_ALIKE, MAX_KINDS, WITHIN_S, JsonLines, NotTooManyAlike


@dataclass
class Log:
    """Records at a time of the test's choice, through the filter. lines: those that passed."""

    lines: list[str] = field(default_factory=list)
    limit: NotTooManyAlike = field(default_factory=NotTooManyAlike)

    def write(self, at: float, message: str, *arguments: object) -> None:
        record = logging.LogRecord("edge_agent.x", logging.WARNING, "x.py", 1, message, arguments, None)
        record.created = at
        if self.limit.filter(record):
            self.lines.append(record.getMessage())


@pytest.fixture
def log() -> Log:
    return Log()


def test_of_a_flood_the_first_lines_are_written_and_then_how_many_were_not(log: Log) -> None:
    for number in range(1000):
        log.write(10.0 + number / 1000, "ignored %d", number)
    assert log.lines == [f"ignored {number}" for number in range(MAX_ALIKE)]
    log.write(10.0 + WITHIN_S, "ignored %d", 7)
    assert log.lines[MAX_ALIKE:] == [f"ignored 7 ({1000 - MAX_ALIKE} more like this were left out)"]


def test_a_flood_does_not_hide_other_lines(log: Log) -> None:
    for _ in range(1000):
        log.write(10.0, "ignored")
    log.write(10.0, "another model is live")
    assert log.lines[-1] == "another model is live"


def test_the_filter_does_not_grow_with_messages_that_are_all_different(log: Log) -> None:
    for number in range(10 * MAX_KINDS):
        log.write(10.0, f"message {number}")
    assert len(log.lines) == 10 * MAX_KINDS
    assert len(log.limit._recent) <= MAX_KINDS


def test_a_line_for_programs_is_one_json_object() -> None:
    record = logging.LogRecord("edge_agent", logging.INFO, "x.py", 1, 'a "quoted"\nline', (), None)
    assert json.loads(JsonLines().format(record))["message"] == 'a "quoted"\nline'


def test_an_error_has_its_hint_in_a_key_of_its_own() -> None:
    record = logging.LogRecord("edge_agent", logging.ERROR, "x.py", 1, "no key", (), None)
    record.fields = {"error": "TrustError", "hint": "copy it there"}
    line = json.loads(JsonLines().format(record))
    assert (line["message"], line["error"], line["hint"]) == ("no key", "TrustError", "copy it there")

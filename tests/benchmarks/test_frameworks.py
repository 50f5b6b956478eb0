"""The program that fills docs/frameworks.md."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.frameworks.__main__ import main, run_row
from benchmarks.frameworks.entries import ENTRIES, Entry
from benchmarks.frameworks.results import CONVERTED, FAILED, SKIPPED, Row, document, read_rows

GOOD = Row("a/net/.x", "net", "a", ".x", CONVERTED, "", "a 1.0", 3, 1e-6, 2e-6, top1=True, seconds=1.25, nodes=(9, 7))


def test_keys_are_unique_and_makers_exist() -> None:
    keys = [entry.key for entry in ENTRIES]
    assert len(set(keys)) == len(keys) > 60
    folder = Path(main.callback.__code__.co_filename).parent / "makers"
    for entry in ENTRIES:
        module, function = entry.maker.split(":")
        assert f"def {function}(" in (folder / f"{module}.py").read_text()


def test_a_row_is_good_within_its_limit_only() -> None:
    assert GOOD.good
    assert not replace(GOOD, max_rel=2e-4).good
    assert replace(GOOD, max_rel=2e-4, limit=1e-2).good
    assert not replace(GOOD, top1=False).good
    assert replace(GOOD, top1=None).good
    assert not replace(GOOD, status=FAILED).good


def test_rows_are_kept_as_lines_and_the_last_one_counts(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert read_rows(path) == {}
    path.write_text(f"{replace(GOOD, status=FAILED).to_line()}\n{GOOD.to_line()}\n")
    assert read_rows(path) == {GOOD.key: GOOD}


def test_the_document_lists_numbers_failures_and_what_was_not_tried() -> None:
    failed = replace(GOOD, model="odd", status=FAILED, reason="no such operator Odd")
    skipped = replace(GOOD, model="far", status=SKIPPED, reason="a is not installed")
    off = replace(GOOD, model="off", max_rel=0.5)
    text = document([GOOD, failed, skipped, off], {"onnx": "1.2"}, "the program")
    assert "| net   |     .x | 1.0e-06 | 2.0e-06 | equal |     1.2 | 9 to 7 |" in text
    assert "- a, odd, .x: no such operator Odd" in text
    assert "- a, far, .x: a is not installed" in text
    assert "- a, off, .x: max rel 5.0e-01, allowed 0.0001" in text
    assert "1 of 4 conversions agree" in text


@pytest.mark.slow
def test_a_row_is_made_converted_and_compared_and_is_not_done_twice(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    arguments = ["--only", "onnx/digits CNN/QDQ", "--json", str(rows), "--markdown", str(tmp_path / "out.md")]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    (row,) = (json.loads(line) for line in rows.read_text().splitlines())
    assert row["status"] == CONVERTED
    assert row["top1"] is True
    assert row["samples"] == 3
    assert "QDQ int8" in (tmp_path / "out.md").read_text()
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert len(rows.read_text().splitlines()) == 1


@pytest.mark.slow
def test_a_maker_that_fails_costs_its_row_only() -> None:
    entry = next(entry for entry in ENTRIES if entry.framework == "onnx")
    lost = run_row(Entry("none", "none", "none", entry.maker), 60.0)
    assert lost.status == FAILED
    assert "its process ended with code 1" in lost.reason

"""The program that fills docs/frameworks.md."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.frameworks.__main__ import main, run_row
from benchmarks.frameworks.agreement import Agreement, agreement, spread
from benchmarks.frameworks.entries import ENTRIES, Entry
from benchmarks.frameworks.pictures import pictures, pixels
from benchmarks.frameworks.results import CONVERTED, FAILED, SKIPPED, Row, document, read_rows
from neo.contract.parity import Parity
from neo.frontends.base import Sample

GOOD = Row(
    "a/net/.x",
    "net",
    "a",
    ".x",
    CONVERTED,
    reference="a 1.0",
    inputs=8,
    max_abs=1e-6,
    max_rel=2e-6,
    top1=True,
    spread=0.5,
    seconds=1.25,
    nodes=(9, 7),
)


def test_keys_are_unique_and_makers_exist() -> None:
    keys = [entry.key for entry in ENTRIES]
    assert len(set(keys)) == len(keys) > 130
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


def test_a_row_whose_answers_hardly_depend_on_the_input_proves_nothing() -> None:
    assert not replace(GOOD, spread=0.01).good
    assert not replace(GOOD, inputs=2).good
    text = document([replace(GOOD, spread=0.01)], {}, "the program")
    assert "- a, net, .x: the answers prove little: spread 0.01 over 8 inputs" in text


@pytest.mark.parametrize(("answers", "expected"), [([1.0, 1.0, 1.0], 0.0), ([1.0, -1.0], 1.0), ([3.0, 1.0], 0.2**0.5)])
def test_spread_is_the_part_of_the_answers_that_differs_from_their_mean(answers: list[float], expected: float) -> None:
    alone = [Sample({"x": np.zeros(1)}, {"y": np.array([answer])}) for answer in answers]
    assert spread(alone, table=False) == pytest.approx(expected)
    together = [Sample({"x": np.zeros(len(answers))}, {"y": np.array(answers)})]
    assert spread(together, table=True) == pytest.approx(expected)
    # of several outputs the dullest one counts
    dull = [Sample(sample.inputs, {**sample.outputs, "z": np.ones(1)}) for sample in alone]
    assert spread(dull, table=False) == 0.0


def test_agreement_finds_the_worst_answer_another_class_and_another_label() -> None:
    rows = {"x": np.arange(6.0).reshape(3, 2)}
    wanted = {"scores": np.array([[0.1, 0.9], [0.8, 0.2], [0.4, 0.6]]), "label": np.array([1, 0, 1])}
    same = agreement(lambda _: wanted, [Sample(rows, wanted)], table=True)
    assert (same.parity.max_abs, same.top1, same.inputs) == (0.0, True, 3)
    other_class = {**wanted, "scores": np.array([[0.1, 0.9], [0.8, 0.2], [0.6, 0.4]])}
    other_label = {**wanted, "label": np.array([1, 1, 1])}
    for found in (other_class, other_label):
        assert agreement(lambda _, found=found: found, [Sample(rows, wanted)], table=True).top1 is False
    assert agreement(lambda _: other_class, [Sample(rows, wanted)], table=True).parity.max_abs == pytest.approx(0.2)
    boxes = {"boxes": np.ones((1, 4, 5, 2))}
    assert agreement(lambda _: boxes, [Sample(rows, boxes)] * 3, table=False) == Agreement(Parity(0.0, 0.0), None, 3)


def test_every_picture_has_a_brightness_of_its_own() -> None:
    found = pictures(6, 33, 20)
    assert found.shape == (6, 3, 33, 20)
    assert found.dtype == np.float32
    assert found.mean((1, 2, 3)).std() > 0.1
    assert 0.3 < found.std() < 3.0
    np.testing.assert_array_equal(found, pictures(6, 33, 20))
    assert (found != pictures(6, 33, 20, seed=1)).any()
    dots = pixels(found)
    assert 0.0 <= dots.min() < dots.max() <= 255.0
    assert dots.std() > 20.0


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
    assert "| net   |     .x |      8 | 1.0e-06 | 2.0e-06 | equal |   0.50 |     1.2 | 9 to 7 |" in text
    assert "Compared with a 1.0." in text
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
    assert row["inputs"] == 4
    assert "QDQ int8" in (tmp_path / "out.md").read_text()
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert len(rows.read_text().splitlines()) == 1


@pytest.mark.slow
def test_a_maker_that_fails_costs_its_row_only() -> None:
    entry = next(entry for entry in ENTRIES if entry.framework == "onnx")
    lost = run_row(Entry("none", "none", "none", entry.maker), 60.0)
    assert lost.status == FAILED
    assert "its process ended with code 1" in lost.reason

"""The conformance program: a sample of its cases, and that it tells losses from wins."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.conformance.__main__ import main
from benchmarks.conformance.cases import KINDS, case_names, load_case
from benchmarks.conformance.outcome import (
    AUTO,
    CONVERSION,
    CRASHED,
    OUT,
    PASSED,
    PEER,
    REFUSED,
    TIMED_OUT,
    WRONG,
    Outcome,
    auto_outcome,
)
from benchmarks.conformance.pool import Result
from benchmarks.conformance.report import summary

RIGHT = Outcome(PASSED)


@pytest.mark.filterwarnings("ignore::RuntimeWarning:onnx.*")  # ONNX computes its own cases with some overflows
def test_there_are_cases_of_every_kind_with_inputs_and_answers() -> None:
    for kind in KINDS:
        names = case_names(kind)
        assert names
        case = load_case(kind, names[len(names) // 2])
        assert all(isinstance(array, np.ndarray) for _, wanted in case.values for array in wanted)
    assert len(case_names("node")) > 1500


@pytest.mark.parametrize(
    ("conversion", "engines", "status"),
    [
        (RIGHT, {"onnxruntime": RIGHT, "tvm": Outcome(OUT, "no such operator")}, PASSED),
        (RIGHT, {"onnxruntime": RIGHT, "tvm": Outcome(CRASHED)}, PASSED),
        (RIGHT, {"onnxruntime": RIGHT, "tvm": Outcome(TIMED_OUT)}, PASSED),
        (RIGHT, {"onnxruntime": RIGHT, "tvm": Outcome(WRONG, "7 instead of 8")}, WRONG),
        (RIGHT, {"onnxruntime": Outcome(OUT), "tvm": Outcome(OUT)}, OUT),
        (Outcome(REFUSED, "strings"), {}, REFUSED),
    ],
)
def test_auto_passes_if_all_engines_that_it_could_choose_do(
    conversion: Outcome, engines: dict[str, Outcome], status: str
) -> None:
    assert auto_outcome(conversion, engines).status == status


def test_the_report_names_what_onnx_runtime_alone_can_do() -> None:
    lost = {PEER: RIGHT, CONVERSION: Outcome(REFUSED, "a text input"), AUTO: Outcome(REFUSED, "a text input")}
    won = {PEER: Outcome(OUT), CONVERSION: RIGHT, "onnxruntime": RIGHT, AUTO: RIGHT}
    text, fewer = summary([Result("node", "test_lost", lost)], ["onnxruntime"])
    assert "test_lost: refused: a text input" in text
    assert fewer
    text, fewer = summary([Result("node", "test_lost", lost), Result("node", "test_won", won)], ["onnxruntime"])
    assert "1 cases that we pass and ONNX Runtime alone does not\n\ntest_won" in text
    assert not fewer


@pytest.mark.slow
def test_of_a_sample_of_all_cases_we_pass_no_fewer_than_onnx_runtime(tmp_path: Path) -> None:
    """Every 23rd case: one in each family of operators, and some whole models."""
    target = tmp_path / "results.json"
    kinds = "node,simple,pytorch-converted,pytorch-operator"
    done = CliRunner().invoke(main, ["--kinds", kinds, "--every", "23", "--json", str(target)])
    assert done.exit_code == 0, done.output
    cases = json.loads(target.read_text())["cases"]
    assert len(cases) > 80
    for engine in ("onnxruntime", "tvm"):
        known = [case["outcomes"][engine]["status"] for case in cases if engine in case["outcomes"]]
        assert known.count(PASSED) > len(known) // 3
    mistaken = [case["name"] for case in cases if case["outcomes"].get("tvm", {}).get("status") == WRONG]
    assert mistaken == []

"""Two commits beside each other: each builds and runs with its own code."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.against import OTHER, THIS, Built, Row, build_in, checked_out, table
from benchmarks.race import Timing
from neo.contract.parity import Parity
from neo.errors import EngineError, UsageError

ROOT = Path(__file__).resolve().parents[2]


def timing(ms: float) -> Timing:
    return Timing(ms, (ms,), ms, ms, 50.0, Parity(0.0, 0.0))


def test_the_ratio_is_this_trees_figure_over_the_others() -> None:
    built = {OTHER: Built(Path(), Path(), 4.0, 100.0), THIS: Built(Path(), Path(), 2.0, 150.0)}
    row = Row("net", built, {OTHER: timing(10.0), THIS: timing(5.0)})
    assert [row.ratio(what) for what in ("median_ms", "seconds", "build_rss", "peak_rss_mb")] == [0.5, 0.5, 1.5, 1.0]


def test_an_engine_that_fails_is_a_row_and_no_ratio() -> None:
    built = {OTHER: Built(Path(), Path(), 4.0, 100.0), THIS: Built(Path(), Path(), 2.0, 100.0)}
    row = Row("net", built, {OTHER: timing(10.0), THIS: EngineError("it fell\nover")})
    assert row.ratio("median_ms") is None
    assert "it fell over" in table([row])


def test_an_unknown_commit_is_refused_in_words() -> None:
    with pytest.raises(UsageError, match="git cannot check out 'no-such-commit'"), checked_out("no-such-commit"):
        pass


def test_a_tree_runs_its_own_code(tmp_path: Path) -> None:
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "build.py").write_text("raise SystemExit('the code of this tree')\n")
    (tmp_path / "benchmarks" / "__init__.py").touch()
    with pytest.raises(EngineError, match="the code of this tree"):
        build_in(tmp_path, ("digits", "tvm", "fp32"), tmp_path, tmp_path / "engine", 60.0)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="the zoo is made with PyTorch")
def test_a_commit_beside_itself(tmp_path: Path) -> None:
    words = ["HEAD", "--models", "digits", "--builds", "1", "--rounds", "1", "--seconds", "0.05"]
    command = [sys.executable, "-m", "benchmarks.against", *words, "--json", str(tmp_path / "out.json")]
    done = subprocess.run(
        [*command, "--cache", str(tmp_path / "zoo")], cwd=ROOT, check=True, capture_output=True, text=True, timeout=280
    )
    assert "beside HEAD" in done.stdout
    (row,) = json.loads((tmp_path / "out.json").read_bytes())["results"]["1"]
    assert row[OTHER]["parity"]["max_rel"] == row[THIS]["parity"]["max_rel"] < 1e-4

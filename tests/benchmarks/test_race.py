from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.engine_process import ROOT, EngineProcess
from benchmarks.race import Entry, Pace, Timing, race
from neo.errors import EngineError

QUICK = Pace(rounds=2, seconds=0.01, limit_s=60)


def stock(model: Path) -> Entry:
    return Entry("onnxruntime", model / "model.onnx", model, "fp32")


def test_every_engine_has_a_median_per_round_and_is_held_against_the_samples(model: Path) -> None:
    results = race({"one": stock(model), "other": stock(model)}, 1, QUICK)
    for result in results.values():
        assert isinstance(result, Timing)
        assert len(result.round_ms) == 2
        assert min(result.round_ms) <= result.median_ms <= max(result.round_ms)
        assert result.parity.max_rel < 1e-5
        assert result.peak_rss_mb > 10


def test_an_engine_that_fails_is_out_and_the_others_are_measured(model: Path, tmp_path: Path) -> None:
    entries = {"bad": Entry("onnxruntime", tmp_path / "missing.onnx", model, "fp32"), "good": stock(model)}
    results = race(entries, 1, QUICK)
    assert isinstance(results["bad"], EngineError)
    assert "missing.onnx" in results["bad"].message
    assert isinstance(results["good"], Timing)


def test_a_precision_that_a_library_lacks_is_a_reason_not_a_time(model: Path) -> None:
    result = race({"ort": Entry("onnxruntime", model / "model.onnx", model, "bf16")}, 1, QUICK)["ort"]
    assert isinstance(result, EngineError)
    assert "bf16" in result.message


def test_an_engine_that_stays_silent_is_out(model: Path) -> None:
    result = race({"slow": stock(model)}, 1, Pace(1, 0.01, limit_s=0.001))["slow"]
    assert isinstance(result, EngineError)
    assert "no answer within" in result.message


def test_an_engine_whose_process_dies_says_how(model: Path) -> None:
    with closing(EngineProcess("onnxruntime", model / "model.onnx", model, 1, "fp32", 60)) as process:
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(EngineError, match="ended with code -9"):
            process.measure(0.01)


def test_an_engine_may_run_on_as_many_cores_as_it_has_threads(model: Path) -> None:
    with closing(EngineProcess("onnxruntime", model / "model.onnx", model, 1, "fp32", 60)) as process:
        assert len(os.sched_getaffinity(process.pid)) == 1


def test_the_worker_brings_no_library_but_the_engine() -> None:
    program = "import benchmarks.worker, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "tvm", "onnx", "onnxruntime", "openvino", "click"} & set(done.stdout.split())

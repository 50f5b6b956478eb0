from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

from neo.compiler import measure as measuring
from neo.compiler.measure import Measurement, measure, measure_in_turn
from neo.contract.manifest import ENGINE_DIR, GOLDEN_OUTPUTS_PATH
from neo.contract.parity import Parity
from neo.errors import BundleError, EngineError, NeoError, ResourceLimitExceeded
from neo.runtime.golden import write_golden
from neo.runtime.stopwatch import stopwatch
from tests.runtime.bundles import onnxruntime_bundle, samples


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return onnxruntime_bundle(tmp_path / "bundle")


def test_an_engine_is_timed_in_a_process_of_its_own(bundle: Path) -> None:
    found = measure(bundle, 1, runs=20)
    assert (found.runs, found.threads) == (20, 1)
    assert 0 < found.median_ms <= found.p90_ms <= found.p99_ms < 1000
    assert 0 < found.load_ms < 60_000
    assert found.first_ms > 0
    assert 10 < found.peak_rss_mb < 2000
    assert found.parity.max_rel < 1e-5
    assert "onnxruntime" not in found.to_json()
    assert found.to_json()["parity"] == found.parity.to_json()


def test_without_a_number_of_runs_they_fill_the_time(bundle: Path) -> None:
    assert 5 < stopwatch(bundle, 1, None, 0.05)["runs"] <= 2000
    assert stopwatch(bundle, 1, None, 0.0)["runs"] == 5


def test_a_relative_folder_is_found_and_the_current_one_is_not_searched_for_modules(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("random", "json", "numpy"):
        (bundle.parent / f"{name}.py").write_text("raise SystemExit('imported from the current folder')\n")
    monkeypatch.chdir(bundle.parent)
    assert measure(Path(bundle.name), 1, runs=5).runs == 5


def test_the_distance_is_the_worst_of_all_samples(bundle: Path) -> None:
    good, bad = samples()
    bad[1]["y"] += 2
    write_golden(bundle, [good, bad])
    assert measure(bundle, 1, runs=5).parity.max_abs == pytest.approx(2, rel=1e-5)
    bad[1]["y"][:] = np.nan
    write_golden(bundle, [good, bad])
    assert measure(bundle, 1, runs=5).parity == Parity(np.inf, np.inf)


def test_what_the_child_could_not_do_comes_back_as_the_same_error(bundle: Path) -> None:
    (bundle / ENGINE_DIR / "model.onnx").write_bytes(b"rubbish")
    with pytest.raises(EngineError, match="onnxruntime cannot load"):
        measure(bundle, 1)
    (bundle / GOLDEN_OUTPUTS_PATH).write_bytes(b"rubbish")
    with pytest.raises(BundleError, match="golden samples"):
        measure(bundle, 1)


def test_an_engine_that_takes_its_process_with_it_is_named_by_its_signal(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nkill -SEGV $$\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(EngineError, match=r"running the engine crashed .signal SIGSEGV"):
        measure(bundle, 1)
    python.write_text(f"#!/bin/sh\necho trouble >&2\nkill -{signal.SIGRTMIN + 3} $$\n")
    with pytest.raises(EngineError, match=r"crashed .signal \d+") as caught:
        measure(bundle, 1)
    assert caught.value.details["log"] == "trouble"
    python.write_text("#!/bin/sh\nexit 0\n")
    with pytest.raises(EngineError, match="exit code 0"):
        measure(bundle, 1)


def test_an_engine_that_hangs_is_stopped(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(measuring, "TIMEOUT_S", 0.5)
    with pytest.raises(ResourceLimitExceeded, match=r"running the engine was not finished after 0.5 s"):
        measure(bundle, 1)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_an_engine_has_no_network_and_none_of_the_users_secrets_while_it_is_measured(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        spy = (
            "import os, socket, sys\n"
            "try:\n"
            f"    socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 5)\n"
            "    reached = True\n"
            "except OSError:\n"
            "    reached = False\n"
            "def answer(scratch):\n"
            "    return {'reached': reached, 'secret': 'AWS_SECRET_ACCESS_KEY' in os.environ}\n"
        )
        (tmp_path / "spy.py").write_text(spy, encoding="ascii")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        # stands where the code of an engine does: called by the same function
        assert measuring._confined("spy:answer", {}) == {"reached": False, "secret": False}


def test_engines_are_measured_in_turn_and_a_broken_one_stops_no_other(bundle: Path, tmp_path: Path) -> None:
    broken = onnxruntime_bundle(tmp_path / "broken")
    (broken / ENGINE_DIR / "model.onnx").unlink()
    found = measure_in_turn({"good": bundle, "broken": broken}, 1, rounds=2)
    assert isinstance(found["good"], Measurement)
    assert isinstance(found["broken"], EngineError)
    assert list(found) == ["good", "broken"]


def test_over_rounds_the_middle_time_and_the_worst_distance_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def row(ms: float, rss: float, distance: float) -> Measurement:
        return Measurement(ms, ms, ms, ms, ms, rss, 10, 2, Parity(distance, distance))

    rows = iter([row(1, 50, 0.1), row(30, 70, 0.3), row(2, 60, 0.2)])
    monkeypatch.setattr(measuring, "measure", lambda *_: next(rows))
    found = measure_in_turn({"one": Path()}, 2)["one"]
    assert isinstance(found, Measurement)
    assert (found.median_ms, found.peak_rss_mb, found.runs, found.threads) == (2, 70, 30, 2)
    assert found.parity == Parity(0.3, 0.3)


def test_an_engine_that_fails_once_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def failing(folder: Path, threads: int) -> Measurement:
        calls.append(folder)
        raise NeoError("no")

    monkeypatch.setattr(measuring, "measure", failing)
    assert isinstance(measure_in_turn({"one": Path()}, 2, rounds=3)["one"], NeoError)
    assert len(calls) == 1

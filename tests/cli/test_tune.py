"""`neo compile --tune` and `neo tune`, in real processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from neo.engines.tvm.cpu.tuning.cache import Document, Key, Measured, cache_at
from neo.engines.tvm.cpu.units.configuration import VERSIONS, Configuration
from neo.engines.tvm.cpu.units.tiles import Tile
from neo.targets import load_target
from tests.models import classifier

Neo = Callable[..., subprocess.CompletedProcess[str]]
CURRENT = ("reduction", VERSIONS["reduction"])
MEASURED = Measured(
    Configuration(Tile(4, 2, 4), columns_first=True), 1.44, 17.5, 4, "float32[4,16] float32[4,16]", *CURRENT
)


@pytest.fixture
def tuning(tmp_path: Path) -> Path:
    return tmp_path / "tuning"


@pytest.fixture
def neo(tmp_path: Path, tuning: Path, monkeypatch: pytest.MonkeyPatch) -> Neo:
    """Runs `neo ...` with a store, a key and measurements of its own."""
    monkeypatch.setenv("NEO_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("NEO_KEY", str(tmp_path / "operator.key"))
    monkeypatch.setenv("NEO_TUNING", str(tuning))

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "neo.cli", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240, cwd=tmp_path)

    return call


def shown(neo: Neo) -> list[dict[str, Any]]:
    """What `neo tune show` has of the user's own."""
    return [row for row in json.loads(neo("tune", "show", "--json").stdout)["documents"] if not row["shipped"]]


def measure(tuning: Path, target: str, **kernels: Measured) -> None:
    cache_at(tuning).add(Document(Key.of(load_target(target)), kernels))


@pytest.mark.slow
def test_what_is_measured_once_is_kept_exported_and_imported(
    neo: Neo, tuning: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = classifier(tmp_path / "net.onnx")
    done = neo("compile", model, "--engine", "tvm", "--tune", 200, "--json")
    assert done.returncode == 0, done.stderr
    (bundle,) = json.loads(done.stdout)["bundles"]
    assert any("kernels measured in this build: 3," in note for note in bundle["notes"])
    (document,) = shown(neo)
    assert document["targets"] == ["host"]
    assert document["kernels"] == 3
    assert neo("tune", "export", tmp_path / "host.json").returncode == 0
    monkeypatch.setenv("NEO_TUNING", str(tmp_path / "elsewhere"))
    assert neo("tune", "import", tmp_path / "host.json").returncode == 0
    target = load_target("host")
    assert cache_at(tmp_path / "elsewhere").known(target) == cache_at(tuning).known(target)
    again = neo("compile", model, "--engine", "tvm", "--tune", 200, "--json")
    (bundle,) = json.loads(again.stdout)["bundles"]
    assert any("kernels measured in this build: 0," in note for note in bundle["notes"])


def test_a_target_that_cannot_be_measured_here_is_refused_with_the_way_to_do_it(neo: Neo, tmp_path: Path) -> None:
    done = neo("compile", classifier(tmp_path / "net.onnx"), "--target", "raspberry-pi-4", "--tune", 10)
    assert done.returncode == 2
    assert "cannot run code for raspberry-pi-4" in done.stderr
    assert "neo tune import" in done.stderr


@pytest.mark.slow
def test_what_was_imported_for_such_a_target_will_do(neo: Neo, tuning: Path, tmp_path: Path) -> None:
    measure(tuning, "raspberry-pi-4", some=MEASURED)
    model = classifier(tmp_path / "net.onnx")
    done = neo("compile", model, "--target", "raspberry-pi-4", "--engine", "tvm", "--tune", 10, "--json")
    assert done.returncode == 0, done.stderr
    (bundle,) = json.loads(done.stdout)["bundles"]
    assert any("kernels that were not measured before stay so" in note for note in bundle["notes"])


def test_an_engine_without_configurations_is_refused(neo: Neo, tmp_path: Path) -> None:
    done = neo("compile", classifier(tmp_path / "net.onnx"), "--engine", "onnxruntime", "--tune", 10)
    assert done.returncode == 2
    assert "--engine tvm" in done.stderr


@pytest.mark.parametrize("seconds", ["-1", "soon", "nan", "inf"])
def test_seconds_that_are_none_are_refused(neo: Neo, tmp_path: Path, seconds: str) -> None:
    done = neo("compile", classifier(tmp_path / "net.onnx"), "--tune", seconds)
    assert done.returncode == 2
    assert "--tune" in done.stderr


def test_show_says_what_there_is_and_what_is_not_used(neo: Neo, tuning: Path) -> None:
    measure(tuning, "raspberry-pi-4", a=MEASURED, b=replace(MEASURED, gain=1.0))
    key = replace(Key.of(load_target("raspberry-pi-4")), tvm="0.1")
    cache_at(tuning).add(Document(key, {"a": MEASURED}))
    current, old = sorted(shown(neo), key=lambda row: not row["current"])
    assert (current["targets"], current["kernels"], current["faster"]) == (["raspberry-pi-4"], 2, 1)
    assert current["gain"] == pytest.approx(1.44)
    assert (old["current"], old["targets"]) == (False, [])
    assert "not used" in neo("tune", "show").stdout


def test_export_takes_the_targets_it_is_asked_for(neo: Neo, tuning: Path, tmp_path: Path) -> None:
    measure(tuning, "raspberry-pi-4", a=MEASURED)
    measure(tuning, "x86-64-v3", b=MEASURED)
    done = neo("tune", "export", tmp_path / "pi.json", "--target", "raspberry-pi-4", "--json")
    assert json.loads(done.stdout)["documents"] == 1
    (document,) = json.loads((tmp_path / "pi.json").read_text())["documents"]
    assert list(document["kernels"]) == ["a"]
    done = neo("tune", "export", tmp_path / "none.json", "--target", "graviton3")
    assert done.returncode == 30
    assert not (tmp_path / "none.json").exists()


def test_import_prefers_the_file_and_keeps_the_rest(neo: Neo, tuning: Path, tmp_path: Path) -> None:
    measure(tuning, "graviton3", a=MEASURED)
    assert neo("tune", "export", tmp_path / "x.json").returncode == 0
    measure(tuning, "graviton3", a=replace(MEASURED, gain=9.0), b=MEASURED)
    assert neo("tune", "import", tmp_path / "x.json").returncode == 0
    assert cache_at(tuning).known(load_target("graviton3")).kernels == {"a": MEASURED, "b": MEASURED}


def test_what_is_no_export_is_not_imported(neo: Neo, tuning: Path, tmp_path: Path) -> None:
    (tmp_path / "net.json").write_text("{}")
    done = neo("tune", "import", tmp_path / "net.json")
    assert done.returncode == 33
    assert "neo tune export" in done.stderr
    assert not tuning.exists()


def test_forget_removes_one_target(neo: Neo, tuning: Path) -> None:
    measure(tuning, "raspberry-pi-4", a=MEASURED)
    measure(tuning, "graviton3", b=MEASURED)
    assert json.loads(neo("tune", "forget", "graviton3", "--json").stdout)["kernels"] == 1
    assert cache_at(tuning).known(load_target("graviton3")).kernels == {}
    assert cache_at(tuning).known(load_target("raspberry-pi-4")).kernels == {"a": MEASURED}

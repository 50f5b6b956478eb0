"""What only reads leaves nothing behind and needs nowhere to write; what is full is called full."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from neo.cli.__main__ import main
from tests.models import classifier, product, two_inputs


@pytest.fixture
def neo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Neo:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEO_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("NEO_KEY", str(tmp_path / "operator.key"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Neo(capsys)


class Neo:
    """`neo ...` in this process. After a call: code, out and err."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.code = 0
        self.out = self.err = ""

    def __call__(self, *arguments: object) -> Neo:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        self.code = ended.value.code if isinstance(ended.value.code, int) else 0
        self.out, self.err = self._capsys.readouterr()
        return self

    def compiled(self, model: Path) -> None:
        assert self("compile", model, "--engine", "onnxruntime").code == 0, self.err


@contextmanager
def _mounted(folder: Path, *arguments: str) -> Iterator[None]:
    """A mount at folder; skips where only root could make it, and this is nobody."""
    done = subprocess.run(["mount", *arguments, str(folder)], check=False, capture_output=True)  # noqa: S607
    if done.returncode != 0:
        pytest.skip("only root can mount")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)  # noqa: S607


@contextmanager
def _read_only(folder: Path) -> Iterator[None]:
    if os.geteuid() != 0:
        folder.chmod(0o555)
        yield
        folder.chmod(0o755)
        return
    with _mounted(folder, "--bind", str(folder)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)  # noqa: S607
        yield


def test_an_npy_file_is_the_input_of_a_model_that_has_one(neo: Neo, tmp_path: Path) -> None:
    neo.compiled(classifier(tmp_path / "net.onnx"))
    x = np.random.default_rng(0).normal(size=(1, 1, 8, 8)).astype(np.float32)
    np.save("x.npy", x)
    np.savez("x.npz", x=x)
    by_name, alone = (json.loads(neo("predict", "net", "--input", f, "--json").out) for f in ("x.npz", "x.npy"))
    assert by_name == alone


def test_an_npy_file_is_not_enough_for_two_inputs(neo: Neo, tmp_path: Path) -> None:
    neo.compiled(two_inputs(tmp_path / "net.onnx"))
    np.save("x.npy", np.zeros((2, 3), np.float32))
    neo("predict", "net", "--input", "x.npy")
    assert neo.code == 12
    assert "'left', 'right'" in neo.err


READ_ONLY = [
    ("inspect",),
    ("inspect", "net"),
    ("predict", "net", "--input", "x.npy"),
    ("benchmark", "net", "--runs", "3"),
    ("evaluate", "net", "--data", "data.npz"),
]


@pytest.mark.parametrize("command", READ_ONLY, ids=" ".join)
def test_a_store_that_can_only_be_read_is_enough(neo: Neo, tmp_path: Path, command: tuple[str, ...]) -> None:
    neo.compiled(classifier(tmp_path / "net.onnx"))
    x = np.zeros((1, 1, 8, 8), np.float32)
    np.save("x.npy", x)
    np.savez("data.npz", x=x, labels=np.zeros(1, np.int64))
    with _read_only(tmp_path / "store"):
        assert neo(*command).code == 0, neo.err


READERS = [
    ("inspect",),
    ("inspect", "net"),
    ("predict", "net", "--input", "x.npy"),
    ("evaluate", "net", "--data", "x.npy"),
    ("benchmark", "net"),
    ("push", "net", "--to", "device"),
    ("keys", "sign", "net"),
]


@pytest.mark.parametrize("command", READERS, ids=" ".join)
def test_what_reads_makes_no_store(neo: Neo, tmp_path: Path, command: tuple[str, ...]) -> None:
    np.save("x.npy", np.zeros(3))
    folder = tmp_path / "etc"
    folder.mkdir()
    assert neo(*command, "--store", folder).code == 30
    assert f"there is no store in {folder}" in neo.err
    assert "neo compile" in neo.err
    assert list(folder.iterdir()) == []


def test_before_the_first_compile_the_list_is_empty(neo: Neo, tmp_path: Path) -> None:
    assert json.loads(neo("inspect", "--json").out)["bundles"] == []
    assert not (tmp_path / "store").exists()


def test_a_key_that_was_named_is_not_made(neo: Neo, tmp_path: Path) -> None:
    classifier(tmp_path / "net.onnx")
    neo("compile", "net.onnx", "--key", "typo.key")
    assert neo.code == 40
    assert "neo keys generate typo.key" in neo.err
    assert not list(tmp_path.glob("*.key*"))


def test_the_second_key_at_a_place_is_refused_with_the_true_reason(neo: Neo) -> None:
    assert neo("keys", "generate").code == 0
    neo("keys", "generate")
    assert neo.code == 40
    assert "a key exists already at" in neo.err
    assert "private key is not at" not in neo.err


def test_a_tolerance_is_a_number(neo: Neo, tmp_path: Path) -> None:
    classifier(tmp_path / "net.onnx")
    neo("compile", "net.onnx", "--engine", "onnxruntime", "--tolerance", "nan")
    assert neo.code == 2
    assert "tolerance" in neo.err


@pytest.mark.parametrize("size", ["4k", "64k", "1m", "2m", "3m", "4m"])
def test_a_full_temporary_folder_is_named(neo: Neo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str) -> None:
    model = product(tmp_path / "net.onnx", 4096)
    disk = tmp_path / "disk"
    disk.mkdir()
    with _mounted(disk, "-t", "tmpfs", "-o", f"size={size}", "tmpfs"):
        monkeypatch.setattr("tempfile.tempdir", str(disk))
        neo("compile", model, "--engine", "onnxruntime")
    assert neo.code == 31, neo.err
    assert f"TMPDIR is {disk}" in neo.err


def test_a_full_disk_is_no_question_of_trust(neo: Neo, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with _mounted(disk, "-t", "tmpfs", "-o", "size=4k", "tmpfs"):
        (disk / "filler").write_bytes(bytes(4096))
        for path in ("operator.key", "deeper/operator.key"):
            neo("keys", "generate", disk / path)
            assert neo.code == 31, neo.err
        assert [path.name for path in disk.iterdir() if path.is_file()] == ["filler"]

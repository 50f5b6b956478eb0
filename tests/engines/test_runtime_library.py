"""The runtime for another architecture is the one that is known, whatever a package index serves."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
import zipfile
from pathlib import Path

import pytest

from neo.engines.tvm.cpu.codegen import runtime_library as module
from neo.engines.tvm.cpu.codegen.runtime_library import MEMBER, SHA256, runtime_library
from neo.errors import EngineError

ROOT = Path(__file__).resolve().parents[2]
OTHER = {"x86_64": "aarch64", "aarch64": "x86_64"}[platform.machine()]
VERSION = importlib.metadata.version("apache-tvm")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the package index: pip installs from there. The cache is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setattr(module, "TIMEOUT_S", 120)
    (tmp_path / "index").mkdir()
    return tmp_path / "index"


def serve(index: Path, content: bytes, *, damaged: bool = False) -> None:
    wheel = index / f"apache_tvm-{VERSION}-py3-none-manylinux_2_28_{OTHER}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(MEMBER, content)
        archive.writestr(
            f"apache_tvm-{VERSION}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: apache-tvm\nVersion: {VERSION}\n"
        )
        archive.writestr(
            f"apache_tvm-{VERSION}.dist-info/WHEEL",
            f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-manylinux_2_28_{OTHER}\n",
        )
        archive.writestr(f"apache_tvm-{VERSION}.dist-info/RECORD", "")
    if damaged:
        bytes_of = bytearray(wheel.read_bytes())
        start = bytes_of.index(content)
        bytes_of[start] ^= 1
        wheel.write_bytes(bytes_of)


def test_a_changed_library_is_refused_and_nothing_of_it_is_kept(index: Path, tmp_path: Path) -> None:
    serve(index, b"something that somebody would like to have signed")
    with pytest.raises(EngineError, match=r"another libtvm_runtime.so .* expected is " + SHA256[VERSION, OTHER]):
        runtime_library(OTHER)
    assert not list((tmp_path / "cache").rglob("libtvm_runtime.so"))


def test_a_damaged_wheel_is_said_to_be_damaged(index: Path) -> None:
    serve(index, b"the bits of this rot on the way", damaged=True)
    with pytest.raises(EngineError, match="is damaged"):
        runtime_library(OTHER)


def test_the_known_library_is_taken_once_and_again_when_the_cache_is_damaged(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    serve(index, b"the real one")
    monkeypatch.setitem(SHA256, (VERSION, OTHER), hashlib.sha256(b"the real one").hexdigest())
    cached = runtime_library(OTHER)
    assert cached.read_bytes() == b"the real one"
    monkeypatch.setattr(sys, "executable", "/bin/false")  # pip is not needed any more
    assert runtime_library(OTHER) == cached
    monkeypatch.undo()


def test_a_damaged_cache_is_not_believed(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    serve(index, b"the real one")
    monkeypatch.setitem(SHA256, (VERSION, OTHER), hashlib.sha256(b"the real one").hexdigest())
    runtime_library(OTHER).write_bytes(b"rotten")
    assert runtime_library(OTHER).read_bytes() == b"the real one"


def test_a_version_that_is_not_known_is_refused_before_anything_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(SHA256, (VERSION, OTHER))
    with pytest.raises(EngineError, match=rf"apache-tvm {re.escape(VERSION)} for {OTHER} is not known"):
        runtime_library(OTHER)


def test_the_version_that_is_asked_for_is_known_for_every_architecture() -> None:
    pinned = re.findall(r"apache-tvm==([0-9a-z.]+)", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert pinned
    assert {(version, arch) for version in pinned for arch in ("x86_64", "aarch64")} <= SHA256.keys()

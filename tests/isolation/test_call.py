"""What a confined call gives back, however its process ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from neo.errors import DiskFull, EngineError, MissingDependency, NeoError, ParityError, ResourceLimitExceeded
from neo.isolation import Limits, isolated
from neo.isolation.call import Work

GIB = 1 << 30
LIMITS = Limits(memory_bytes=GIB, seconds=20.0, file_bytes=1 << 20)

PROGRAM = """
import os, signal, time
from neo.errors import ParityError

def answers(scratch):
    print("noise on stdout")
    return {"files": sorted(path.name for path in scratch.iterdir())}

def raises(scratch):
    raise ParityError("they differ", hint="look", details={"by": 3})

def crashes(scratch):
    print("last words", flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)

def lacks(scratch):
    import no_such_module

def hangs(scratch):
    time.sleep(600)

def eats(scratch):
    return {"x": len(bytearray(8 << 30))}

def writes(scratch):
    (scratch / "big").write_bytes(bytes(2 << 20))

def fails(scratch):
    return 1 / 0
"""


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "confined_work.py").write_text(PROGRAM, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "code"))
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


def call(name: str, scratch: Path, limits: Limits = LIMITS) -> dict[str, object]:
    return isolated(Work(f"confined_work:{name}", "the work", EngineError), scratch, limits)


def test_the_answer_comes_back_whatever_was_printed(scratch: Path) -> None:
    (scratch / "input").touch()
    assert call("answers", scratch) == {"files": ["input", "tmp"]}


def test_an_error_keeps_its_class_hint_and_details(scratch: Path) -> None:
    with pytest.raises(ParityError, match="they differ") as caught:
        call("raises", scratch)
    assert caught.value.hint == "look"
    assert caught.value.details["by"] == 3
    assert "confined_work.py" in caught.value.details["traceback"]


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("crashes", EngineError, "the work crashed .signal SIGSEGV"),
        ("fails", EngineError, "the work crashed .exit code 1"),
        ("lacks", MissingDependency, "no_such_module is not installed"),
        ("eats", ResourceLimitExceeded, "memory"),
        ("writes", ResourceLimitExceeded, "larger file"),
    ],
)
def test_whatever_happens_there_is_an_error_here(scratch: Path, name: str, error: type[NeoError], words: str) -> None:
    with pytest.raises(error, match=words):
        call(name, scratch)


def test_the_last_words_of_a_crash_are_kept(scratch: Path) -> None:
    with pytest.raises(EngineError) as caught:
        call("crashes", scratch)
    assert "last words" in caught.value.details["log"]


def test_time_runs_out(scratch: Path) -> None:
    with pytest.raises(ResourceLimitExceeded, match="not finished after 2 s"):
        call("hangs", scratch, Limits(memory_bytes=GIB, seconds=2.0, file_bytes=1 << 20))


def test_a_disk_that_is_full_is_said() -> None:
    from neo.isolation.exhaustion import exhaustion

    assert isinstance(exhaustion("OSError: [Errno 28] No space left on device"), DiskFull)
    assert exhaustion("ValueError: shapes differ") is None

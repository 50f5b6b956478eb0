"""`neo-agent` as a user starts it, when it cannot run."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from neo.errors import TrustError, UsageError


def run_agent(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge_agent", *arguments], capture_output=True, text=True, timeout=30, check=False
    )


def given(folder: Path, trust: Path, *extra: str) -> list[str]:
    listen = ["--listen", "127.0.0.1:0"]
    fixed = ["--broker", "mqtt://127.0.0.1:9", "--device-id", "d", "--state-dir", str(folder), "--trust", str(trust)]
    return [*fixed, *listen, *extra]


def check(done: subprocess.CompletedProcess[str], exit_code: int, *words: str) -> None:
    assert done.returncode == exit_code, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_a_missing_key_is_named_with_what_to_do(tmp_path: Path) -> None:
    done = run_agent(*given(tmp_path / "state", tmp_path / "no.pub"))
    check(done, TrustError.exit_code, "no.pub", "hint:")


def test_missing_options_are_named(tmp_path: Path) -> None:
    check(run_agent("--broker", "mqtt://h"), UsageError.exit_code, "--device-id", "--trust")


@pytest.mark.parametrize("wrong", [("--broker", "http://x"), ("--threads", "0"), ("--listen", "8080"), ("--nonsense",)])
def test_a_wrong_option_is_a_usage_error(tmp_path: Path, trust: Path, wrong: tuple[str, ...]) -> None:
    check(run_agent(*given(tmp_path / "state", trust, *wrong)), UsageError.exit_code)


def test_a_port_in_use_is_said(tmp_path: Path, trust: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run_agent(*given(tmp_path / "state", trust, "--listen", place))
    check(done, UsageError.exit_code, f"cannot listen at {place}", "--listen")
    assert not (tmp_path / "state" / "agent.json").exists()

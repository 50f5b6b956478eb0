"""Continuous integration leaves nothing out unsaid. Tried with pytest in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.skips import ALLOWED

ROOT = Path(__file__).parents[1]
UNKNOWN = "a program that nobody has is not installed"
KNOWN = "mounting is not allowed here"


def run_pytest(folder: Path, source: str, *, ci: bool) -> str:
    """-> the last line of what pytest says about a file of tests."""
    (folder / "test_it.py").write_text(f"import pytest\n{source}")
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"PYTHONPATH": str(ROOT)}
    if ci:
        environment["CI"] = "true"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.skips", "-p", "no:cacheprovider", "--rootdir", folder]
    done = subprocess.run(
        [*command, folder], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode in {0, 1, 2, 5}, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "source",
    [
        f"def test_it():\n    pytest.skip({UNKNOWN!r})\n",
        f"@pytest.mark.skipif(True, reason={UNKNOWN!r})\ndef test_it():\n    pass\n",
        f"@pytest.fixture\ndef it():\n    pytest.skip({UNKNOWN!r})\n\ndef test_it(it):\n    pass\n",
        f"pytest.skip({UNKNOWN!r}, allow_module_level=True)\n",
        f"pytest.importorskip('nobody_has_this', reason={UNKNOWN!r})\n",
    ],
    ids=["in the test", "by a mark", "in a fixture", "of a module", "by an import"],
)
def test_a_skip_without_a_reason_on_the_list_fails_in_continuous_integration(tmp_path: Path, source: str) -> None:
    said = run_pytest(tmp_path, source, ci=True)
    assert "skipped in continuous integration: " + UNKNOWN in said
    assert " skipped" not in said.splitlines()[-1]
    assert "1 error" in said or "1 failed" in said
    assert "1 skipped" in run_pytest(tmp_path, source, ci=False).splitlines()[-1]


def test_a_reason_on_the_list_is_a_skip_in_continuous_integration_too(tmp_path: Path) -> None:
    source = f"def test_it():\n    pytest.skip({KNOWN!r})\n"
    assert "1 skipped" in run_pytest(tmp_path, source, ci=True).splitlines()[-1]


def test_a_reason_that_only_contains_one_of_the_list_is_none(tmp_path: Path) -> None:
    source = f"def test_it():\n    pytest.skip('{KNOWN}, and mosquitto is not installed')\n"
    assert "1 failed" in run_pytest(tmp_path, source, ci=True).splitlines()[-1]


def test_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    source = "@pytest.mark.xfail(strict=True, reason='known')\ndef test_it():\n    assert False\n"
    assert "1 xfailed" in run_pytest(tmp_path, source, ci=True).splitlines()[-1]


def test_every_reason_on_the_list_is_given_somewhere() -> None:
    files = [path for path in (ROOT / "tests").rglob("*.py") if "skips" not in path.name]
    sources = "".join(path.read_text() for path in files)
    for pattern in ALLOWED:
        words = max(pattern.split(r"\S+"), key=len)
        assert words in sources, f"no test gives the reason {pattern!r} any more"

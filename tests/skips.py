"""What may be left out by continuous integration. There a skip fails its test unless its reason stands here, so that a
green run has tested what it claims; on a developer's machine a skip says what to install.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from typing import Any

import pytest

#: a pattern for the whole reason of a skip -> why continuous integration cannot do anything about it
ALLOWED = {
    r"the processor of target \S+ does not compute in \S+": "no emulator gives it what its kind has not; "
    "that it is refused is tested by itself",
    r"this machine cannot run code for \S+": "as above; the targets that it can run have every case",
    r"this machine cannot run \S+ code for \S+": "as above",
    r"this processor does not compute with bfloat16": "kernels are timed on this machine's processor, not emulated",
    r"only the tiles are emulated, and this processor lacks more": "AMX is emulated above AVX512-BF16, which is not",
    r"NEO_TUF_CONFORMANCE names no checkout": "the suite is in no package; tests/trust/tuf simulates the same attacks",
    r"mounting is not allowed here": "the kernel, or the container's rules, decide that, also for root",
}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if not hasattr(report, "wasxfail"):
        fail_unless_allowed(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    fail_unless_allowed(report)
    return report


def fail_unless_allowed(report: Any) -> None:
    """report: of a test, or of a module that was to be collected. Does nothing outside of continuous integration."""
    if not (report.skipped and os.environ.get("CI")):
        return
    path, line, message = report.longrepr
    reason = message.removeprefix("Skipped: ")
    if not any(re.fullmatch(pattern, reason) for pattern in ALLOWED):
        report.outcome = "failed"
        report.longrepr = (
            f"{path}:{line}: skipped in continuous integration: {reason}\n"
            "scripts/test has to bring what this test needs; if it cannot, tests/skips.py has to say why"
        )

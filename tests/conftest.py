from __future__ import annotations

import uuid

import pytest
from hypothesis import settings

from tests.skips import pytest_make_collect_report, pytest_runtest_makereport

__all__ = ["pytest_make_collect_report", "pytest_runtest_makereport"]

# a deadline per example measures the machine and its other tenants, and pytest-timeout is there for what hangs
settings.register_profile("neo", deadline=None)
settings.load_profile("neo")


@pytest.fixture(autouse=True)
def _nothing_measured_before(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds do not depend on what the user of this machine measured."""
    monkeypatch.setenv("NEO_TUNING", str(tmp_path_factory.getbasetemp() / "tuning"))


@pytest.fixture(autouse=True)
def _own_fleet_database(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made when it is used; what a test writes there no other test reads, and none the user's own."""
    monkeypatch.setenv("NEO_DB", str(tmp_path_factory.getbasetemp() / "fleet" / f"{uuid.uuid4().hex}.db"))

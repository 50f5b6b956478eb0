from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from neo.store import Store
from tests.brokers import BROKERS, RunningBroker


@pytest.fixture(params=sorted(BROKERS))
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningBroker]:
    """One that serves no blobs."""
    with BROKERS[request.param](tmp_path / "broker") as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")

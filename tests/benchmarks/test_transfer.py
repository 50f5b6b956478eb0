"""The numbers of docs/fleet.md, with fewer devices: what a source publishes, as a multiple of the bundle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.transfer.brokers import over_broker
from benchmarks.transfer.light import Load, make_load
from benchmarks.transfer.memory import Losses, simulate
from tests.brokers import RunningBroker
from tests.fleet.conftest import BROKERS


@pytest.fixture(params=sorted(BROKERS))
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningBroker]:
    with BROKERS[request.param](tmp_path / "broker") as running:
        yield running


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Load]:
    return make_load(tmp_path_factory.mktemp("load"), 3_000_000)


@pytest.mark.parametrize("count", [1, 10, 60])
def test_a_bundle_is_published_once_however_many_want_it(load: Load, count: int) -> None:
    tallied = simulate(load, count, Losses())
    assert tallied.done == count
    assert tallied.bytes_published <= 1.1 * load.bundle_bytes


def test_what_is_lost_on_the_way_to_the_broker_is_published_once_more_for_all(load: Load) -> None:
    tallied = simulate(load, 60, Losses(to_broker=0.05), seed=2)
    assert tallied.done == 60
    assert tallied.bytes_published <= 1.2 * load.bundle_bytes  # 31 chunks: two lost are 6 %


def test_what_each_device_loses_by_itself_comes_in_few_passes(load: Load) -> None:
    tallied = simulate(load, 60, Losses(to_device=0.05), seed=3)
    assert tallied.done == 60
    assert tallied.bytes_published <= 3.3 * load.bundle_bytes


def test_devices_that_come_late_cost_what_they_missed(load: Load) -> None:
    tallied = simulate(load, 20, Losses(), join_s=20.0)
    assert tallied.done == 20
    assert tallied.bytes_published <= 20.1 * load.bundle_bytes  # and what is said about it


def test_a_real_broker_carries_it(broker: RunningBroker, load: Load) -> None:
    tallied = over_broker(load, broker.url, 20, Losses(to_device=0.05), limit_s=60)
    assert tallied.done == 20
    assert tallied.bytes_published <= 4 * load.bundle_bytes

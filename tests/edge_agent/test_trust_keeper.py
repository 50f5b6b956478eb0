"""What the agent makes of whatever comes on the two topics of trust; no broker, no process."""

from __future__ import annotations

import queue
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner

from edge_agent.core.trust import REFRESH_EVERY_S, SETTLE_S, Given, TrustKeeper, read_given
from edge_agent.tasks import Tasks
from neo.contract.tuf import MAX_TIMESTAMP_BYTES
from neo.errors import TrustError, UsageError
from neo.trust.tuf.clock import now
from neo.trust.tuf.keyfolder import ROLES, KeyFolder
from neo.trust.tuf.repository import Repository
from tests.trust.tuf.fleet import Clock, Operator, a_release


class Device:
    def __init__(self, folder: Path, given: Given) -> None:
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.watched: list[bool] = []
        self.keeper = TrustKeeper(given, folder, "default", Tasks(self.inbox), self.watched.append)

    def settle(self, jobs: int = 1) -> None:
        for _ in range(jobs):
            done = self.inbox.get(timeout=10)
            done.on_done(done.result, done.error)

    @property
    def is_idle(self) -> bool:
        return self.inbox.empty()


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    operator = Operator(tmp_path / "keys", Clock(now()))
    operator.repository.release("digits:1-host", a_release("one"))
    return operator


@pytest.fixture
def device(operator: Operator, tmp_path: Path) -> Device:
    return Device(tmp_path / "state", Given(root=operator.repository.root_bytes()))


def published(repository: Repository) -> tuple[bytes, bytes]:
    timestamp, files = repository.published()
    return timestamp, files.to_bytes()


def test_the_set_is_asked_for_only_when_the_timestamp_names_a_newer_one(operator: Operator, device: Device) -> None:
    timestamp, files = published(operator.repository)
    device.keeper.take("timestamp", timestamp, 100.0)
    assert device.keeper.is_settling(100.0)
    device.settle()
    assert device.watched == [True]
    device.keeper.take("set", files, 100.5)
    device.settle()
    assert device.watched == [True, False]
    assert not device.keeper.is_settling(100.5)
    assert not device.keeper.doubt
    operator.repository.renew()
    device.keeper.take("timestamp", published(operator.repository)[0], 110.0)
    device.settle()
    assert device.watched == [True, False]
    assert len(device.keeper.assignment_keys()) == 1


def test_a_flood_of_forgeries_costs_one_refresh_a_second_and_changes_nothing(
    operator: Operator, device: Device
) -> None:
    timestamp, files = published(operator.repository)
    device.keeper.take("timestamp", timestamp, 100.0)
    device.settle()
    device.keeper.take("set", files, 100.0)
    device.settle()
    keys = device.keeper.assignment_keys()
    begun, refreshes = 200.0, 0
    for number in range(300):
        at = begun + number / 100
        device.keeper.take("timestamp", b'{"forged":%d}' % number, at)
        device.keeper.take("set", b"NTS1" + bytes(number), at)
        device.keeper.take("set", files[:-1] + bytes([number % 256]), at)
        device.keeper.take("timestamp", b"x" * (MAX_TIMESTAMP_BYTES + 1), at)
        while device.keeper._is_busy:
            device.settle()
            refreshes += 1
    assert refreshes <= 5
    assert device.keeper.assignment_keys() == keys
    assert not device.keeper.is_settling(begun + 3 + SETTLE_S)
    device.keeper.take("timestamp", timestamp, begun + 10 * REFRESH_EVERY_S)
    assert not device.keeper.doubt


def test_trust_is_told_apart_by_what_is_in_the_file(operator: Operator, tmp_path: Path) -> None:
    root = tmp_path / "anything"
    root.write_bytes(operator.repository.root_bytes())
    assert read_given([root]).root == root.read_bytes()
    with pytest.raises(UsageError, match="and something else"):
        read_given([root, root])
    with pytest.raises(TrustError, match="cannot read the trusted key"):
        read_given([tmp_path / "nothing"])


@pytest.mark.parametrize(("fleet", "goes_over"), [("default", True), ("other", False)])
def test_the_root_of_another_fleet_is_not_gone_over_to_though_the_same_key_signed_it(
    tmp_path: Path, fleet: str, goes_over: bool
) -> None:
    signer = CryptoSigner.generate_ed25519()
    keys = KeyFolder.create(tmp_path / "keys", fleet, str)
    for role in ROLES:
        keys.make(role, None)
    repository = Repository(keys)
    repository.create({}, signer)
    device = Device(tmp_path / "state", Given(keys=(signer.public_key,)))
    timestamp, files = published(repository)
    device.keeper.take("timestamp", timestamp, 100.0)
    device.settle()
    device.keeper.take("set", files, 102.0)
    device.settle()
    assert (list(device.keeper.assignment_keys()) != [signer.public_key]) is goes_over
    # and so it is after a restart
    again = Device(tmp_path / "state", Given(keys=(signer.public_key,)))
    assert (list(again.keeper.assignment_keys()) != [signer.public_key]) is goes_over


def test_a_root_of_another_fleet_is_refused_at_the_start(tmp_path: Path) -> None:
    keys = KeyFolder.create(tmp_path / "keys", "other", str)
    for role in ROLES:
        keys.make(role, None)
    repository = Repository(keys)
    repository.create({})
    with pytest.raises(TrustError, match="of fleet 'other', the device is of 'default'"):
        Device(tmp_path / "state", Given(root=repository.root_bytes()))

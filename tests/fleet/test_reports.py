"""What is believed of devices that sign: nothing that somebody else has said in their name, now or before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from neo.contract.messages import Assignment, DeviceState, Live, Presence
from neo.errors import BundleError, DeviceError, WaitTimeout
from neo.fleet.db import FleetDb
from neo.fleet.inventory import Inventory, inventory_over
from neo.fleet.keyring import Heard, Trust
from neo.fleet.push import PushRequest, PushResult, push_over
from neo.fleet.records import DeviceRecord
from neo.fleet.roster import Roster
from neo.store import Store
from neo.trust.documents import sign_report
from tests.fleet.devices import make_bundle, make_report
from tests.fleet.memory import TOPICS, MemoryBroker

DEVICE = "dev-00000"
REPORT_TOPIC = TOPICS.signed(DEVICE, "report")
NOTHING = DeviceState("s", "idle", "", None, 0, 0, None, "", 6.0)
ELSE = DeviceState("s", "active", "x", Live("sha256:" + "e" * 64, "evil:1-host", "tvm", 6.0), 0, 0, None, "", 6.0)


@pytest.fixture
def book(tmp_path):
    with FleetDb.open(tmp_path / "fleet.db") as database:
        yield database


@pytest.fixture
def loaded(store: Store, tmp_path: Path) -> Store:
    make_bundle(store, tmp_path / "b", ballast=bytes(2000))
    return store


def roster_of(broker: MemoryBroker, book: FleetDb) -> Roster:
    return Roster(book, "default", "here:1883", broker.clock)


def look(broker: MemoryBroker, book: FleetDb) -> Inventory:
    """As `neo status` does."""
    roster = roster_of(broker, book)
    keys = roster.keys()
    inventory = inventory_over(broker, TOPICS, device=None, clock=broker.clock, new_id=broker.new_id, keys=keys)
    inventory = roster.check(inventory)
    roster.remember(keys)
    return inventory


def look_at(broker: MemoryBroker, book: FleetDb) -> DeviceRecord:
    return look(broker, book).records[DEVICE]


def push(broker: MemoryBroker, book: FleetDb, store: Store, timeout_s: float = 60.0) -> PushResult:
    return push_over(
        broker,
        "tiny",
        PushRequest(("all",), timeout_s=timeout_s),
        store=store,
        watch=lambda _: None,
        clock=broker.clock,
        new_id=broker.new_id,
        roster=roster_of(broker, book),
    )


def one_device(*, sign: bool = True) -> MemoryBroker:
    broker = MemoryBroker()
    broker.add_devices(1, sign=sign)
    return broker


def test_a_device_that_signs_is_pinned_at_first_sight_and_a_push_believes_its_report(book, loaded):
    broker = one_device()
    assert look_at(broker, book).trust is Trust.PINNED
    push(broker, book, loaded).raise_failures()
    record = look_at(broker, book)
    assert record.trust is Trust.PINNED
    assert record.told is not None
    assert record.told.phase == "active"
    assert book.roster("default")[DEVICE].sequence == broker.devices[DEVICE].sequence


def test_a_device_that_signs_nothing_is_called_unsigned_and_works_as_before(book, loaded):
    broker = one_device(sign=False)
    push(broker, book, loaded).raise_failures()
    record = look_at(broker, book)
    assert (record.trust, record.told) == (Trust.UNSIGNED, record.state)


def test_a_thousand_stopped_devices_whose_state_is_forged_give_no_success(book, loaded):
    broker = MemoryBroker()
    broker.add_devices(1000, sign=True)
    look(broker, book)
    stranger = CryptoSigner.generate_ed25519()
    for device in broker.devices.values():
        device.take = forge(broker, device.device, stranger)  # the device itself is stopped
    result = push(broker, book, loaded, timeout_s=10.0)
    assert len(result.outcomes) == 1000
    assert sum(outcome.error is None for outcome in result.outcomes) == 0
    assert all(isinstance(outcome.error, WaitTimeout) for outcome in result.outcomes)
    assert "forged" in str(result.outcomes[0].error)
    assert broker.published["report"] >= 2000  # the forged ones were said


def forge(broker: MemoryBroker, device: str, stranger: CryptoSigner):
    def take(leaf: str, payload: bytes) -> None:
        if leaf != "assignment":
            return
        assignment = Assignment.from_bytes(payload)
        live = Live(assignment.manifest.digest, assignment.reference, "tvm", 6.0)
        state = DeviceState("f", "active", assignment.id, live, 9, 9, None, "", 6.0)
        broker.publish(TOPICS.device(device, "presence"), Presence(True, "f", 6.0).to_bytes(), retain=True)
        broker.publish(TOPICS.device(device, "state"), state.to_bytes(), retain=True)
        report = sign_report(make_report(device, state, 1 << 60), stranger)
        broker.publish(TOPICS.signed(device, "report"), report, retain=True)

    return take


@pytest.mark.parametrize("how", ["another key", "another device", "another fleet", "a changed payload", "no key"])
def test_a_report_that_is_not_the_devices_own_is_forged_and_not_believed(book, how):
    broker = one_device()
    look(broker, book)
    signer = broker.devices[DEVICE].signer
    report = make_report(DEVICE, ELSE, 99)
    if how == "another key":
        data = sign_report(report, CryptoSigner.generate_ed25519())
    elif how == "another device":
        data = sign_report(replace(report, device="dev-00001"), signer)
    elif how == "another fleet":
        data = sign_report(replace(report, fleet="other"), signer)
    else:
        value = json.loads(sign_report(report, CryptoSigner.generate_ed25519()))
        true = json.loads(broker.retained[REPORT_TOPIC])
        value["key"] = true["key"] if how == "a changed payload" else {"keyid": "x"}
        data = json.dumps(value).encode()
    broker.publish(REPORT_TOPIC, data, retain=True)
    record = look_at(broker, book)
    assert record.trust is Trust.FORGED
    assert record.told is None
    assert "forged" in " ".join(record.problems)
    broker.devices[DEVICE].start()  # the device says something again
    assert look_at(broker, book).trust is Trust.PINNED


def test_an_old_report_that_comes_back_is_replayed_and_not_believed(book, loaded):
    broker = one_device()
    look(broker, book)
    old = broker.retained[REPORT_TOPIC]
    push(broker, book, loaded).raise_failures()
    broker.publish(REPORT_TOPIC, old, retain=True)
    record = look_at(broker, book)
    assert (record.trust, record.told) == (Trust.REPLAYED, None)
    assert "replayed" in " ".join(record.problems)


def test_a_report_that_somebody_removed_leaves_nothing_to_believe(book):
    broker = one_device()
    look(broker, book)
    del broker.retained[REPORT_TOPIC]
    broker.publish(TOPICS.device(DEVICE, "state"), ELSE.to_bytes(), retain=True)
    record = look_at(broker, book)
    assert (record.trust, record.told) == (Trust.WITHHELD, None)


def test_a_report_of_a_bundle_that_is_not_live_is_no_success(book, loaded):
    broker = one_device()
    device = broker.devices[DEVICE]

    def take(leaf: str, payload: bytes) -> None:
        if leaf == "assignment":
            state = replace(ELSE, assignment=Assignment.from_bytes(payload).id)
            report = sign_report(make_report(DEVICE, state, 99), device.signer)
            broker.publish(REPORT_TOPIC, report, retain=True)

    device.take = take
    (outcome,) = push(broker, book, loaded, timeout_s=10.0).outcomes
    assert isinstance(outcome.error, WaitTimeout)


def test_a_failure_that_is_tried_again_is_not_the_end(book, loaded):
    broker = one_device()
    device = broker.devices[DEVICE]
    device.verdict, device.retry_at = BundleError("no answer from the source").to_json(), 12.0
    (outcome,) = push(broker, book, loaded, timeout_s=10.0).outcomes
    assert isinstance(outcome.error, WaitTimeout)
    assert "tries again" in outcome.error.message
    assert "no answer from the source" in outcome.error.message
    device.retry_at = None
    (outcome,) = push(broker, book, loaded).outcomes
    assert type(outcome.error) is DeviceError


def test_a_revoked_device_is_not_believed_and_a_forgotten_one_may_have_a_new_key(book):
    broker = one_device()
    look(broker, book)
    book.revoke("default", DEVICE, 7.0)
    record = look_at(broker, book)
    assert (record.trust, record.told) == (Trust.REVOKED, None)
    book.forget("default", DEVICE)
    broker.publish(
        REPORT_TOPIC, sign_report(make_report(DEVICE, NOTHING, 1), CryptoSigner.generate_ed25519()), retain=True
    )
    assert look_at(broker, book).trust is Trust.PINNED


def test_the_key_of_an_enrolment_is_believed_and_the_first_seen_is_not(book):
    broker = one_device()
    look(broker, book)
    key = book.roster("default")[DEVICE].key
    book.enrol("default", DEVICE, key, 8.0)
    assert look_at(broker, book).trust is Trust.ENROLLED
    book.enrol("default", DEVICE, b"{}", 9.0)
    assert look_at(broker, book).trust is Trust.FORGED


def test_of_two_commands_that_see_a_device_first_one_pins(book):
    book.note_reports("default", {"a": Heard(b"one", 5)}, 1.0)
    book.note_reports("default", {"a": Heard(b"two", 9), "b": Heard(b"three", 1)}, 2.0)
    book.note_reports("default", {"a": Heard(b"one", 4)}, 3.0)
    members = book.roster("default")
    assert (members["a"].key, members["a"].sequence, members["a"].key_since) == (b"one", 5, 1.0)
    assert members["b"].key == b"three"

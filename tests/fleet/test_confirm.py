"""What was published is read back: a broker that acknowledges and drops is found out."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from neo.contract.messages import Assignment, Presence
from neo.errors import BrokerError, QueueFull
from neo.fleet.clock import SYSTEM_CLOCK, random_id
from neo.fleet.confirm import not_kept, unconfirmed
from neo.fleet.push import PushRequest, push, push_over
from neo.fleet.transport import MqttTransport
from neo.link import MAX_QUEUED, SYSTEM_TLS, Connected, Disconnected
from neo.store import Store
from tests.brokers import mosquitto
from tests.fleet.devices import TOPICS, make_bundle, make_capabilities
from tests.fleet.memory import MemoryBroker
from tests.fleet.test_retained_order import retain
from tests.test_link import linked, messages, next_event

ALL = ("all",)


@pytest.fixture
def loaded(store: Store, tmp_path: Path) -> Store:
    make_bundle(store, tmp_path / "b")
    return store


def assign_all(broker: MemoryBroker, store: Store):
    return push_over(
        broker,
        "tiny",
        PushRequest(ALL, wait=False),
        store=store,
        watch=lambda _: None,
        clock=broker.clock,
        new_id=broker.new_id,
    )


def test_a_thousand_assignments_without_waiting_all_reach_the_broker(broker, loaded):
    with linked(broker.url, name="devices") as (devices, _):
        for number in range(1000):
            name = f"d{number}"
            while devices.backlog > 200:
                time.sleep(0.001)
            devices.publish(TOPICS.device(name, "capabilities"), make_capabilities(name).to_bytes(), retain=True)
            devices.publish(TOPICS.device(name, "presence"), Presence(True, "s", 1.0).to_bytes(), retain=True)
    result = push("tiny", PushRequest(ALL, wait=False, partial=True), store=loaded, url=broker.url)
    result.raise_failures()
    assert len(result.outcomes) == 1000
    expected = {TOPICS.device(f"d{number}", "assignment") for number in range(1000)}
    with linked(broker.url, watched=[TOPICS.devices("assignment")]) as (_, inbox):
        held = {message.topic for message in messages(inbox, quiet_s=2) if Assignment.from_bytes(message.payload)}
    assert held == expected


def test_what_the_rules_of_a_broker_drop_is_an_error_that_names_it(loaded):
    broker = MemoryBroker(rules=lambda topic: not topic.endswith("dev-00003/assignment"))
    broker.add_devices(10)
    result = assign_all(broker, loaded)
    assert [outcome.device for outcome in result.outcomes if outcome.error is not None] == ["dev-00003"]
    with pytest.raises(BrokerError, match="1 of 10 devices failed") as caught:
        result.raise_failures()
    assert "dev-00003" in caught.value.message
    assert "docs/brokers.md" in caught.value.hint


def test_a_real_broker_whose_rules_drop_an_assignment_is_found_out(loaded, tmp_path):
    """Its acknowledgement says nothing: mosquitto acknowledges what its rules forbid."""
    acl = tmp_path / "acl"
    acl.write_text(
        "topic readwrite neo/v1/default/#\ntopic deny neo/v1/default/device/d1/assignment\ntopic read $SYS/#\n"
    )
    with mosquitto(tmp_path / "broker", lines=["allow_anonymous true", f"acl_file {acl}", "sys_interval 1"]) as broker:
        retain(broker.url, 3)
        result = push("tiny", PushRequest(("d0", "d1"), wait=False, force=True), store=loaded, url=broker.url)
    assert [outcome.device for outcome in result.outcomes if outcome.error is not None] == ["d1"]


def test_a_failure_of_very_many_devices_is_told_in_a_few_lines(loaded):
    broker = MemoryBroker(rules=lambda topic: not topic.endswith("assignment"))
    broker.add_devices(500)
    with pytest.raises(BrokerError, match="500 of 500 devices failed") as caught:
        assign_all(broker, loaded).raise_failures()
    assert "and 495 more" in caught.value.message
    assert len(caught.value.message) < 2000
    assert len(caught.value.details["devices"]) == 500


def test_what_is_there_with_another_content_does_not_count(broker):
    transport = MqttTransport(broker.url, SYSTEM_TLS, random_id)
    with linked(broker.url) as (link, _):
        for name, payload in (("a", b"1"), ("b", b"other")):
            link.publish(TOPICS.device(name, "state"), payload, retain=True)
    expected = {TOPICS.device(name, "state"): b"1" for name in "abc"}
    for wildcards in ([], [TOPICS.devices("state")]):
        missing = unconfirmed(transport, expected, wildcards=wildcards, clock=SYSTEM_CLOCK, timeout_s=1.5)
        assert [TOPICS.device_of(topic) for topic in missing] == [("b", "state"), ("c", "state")]
    assert unconfirmed(transport, {}, wildcards=[], clock=SYSTEM_CLOCK, timeout_s=5) == ()
    assert "b/state" in not_kept(missing).message


def test_a_message_that_finds_no_room_is_an_error_and_the_others_arrive(broker):
    with linked(broker.url, name="writer") as (writer, events):
        broker.kill()
        next_event(events, Disconnected)
        for number in range(MAX_QUEUED):
            writer.publish(f"t/{number}", b"1", retain=True)
        with pytest.raises(QueueFull, match=f"{MAX_QUEUED} messages wait"):
            writer.publish("t/more", b"1", retain=True)
        assert writer.backlog == MAX_QUEUED
        broker.restart()
        next_event(events, Connected, 20)
        deadline = time.monotonic() + 20
        while writer.backlog and time.monotonic() < deadline:
            time.sleep(0.05)
    with linked(broker.url, watched=["t/#"], name="reader") as (_, inbox):
        held = {message.topic for message in messages(inbox, quiet_s=2)}
    assert held == {f"t/{number}" for number in range(MAX_QUEUED)}

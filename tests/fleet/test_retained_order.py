"""What docs/brokers.md claims of the brokers that are known: a marker comes after all that was retained."""

from __future__ import annotations

import time

import pytest

from neo.contract.topics import Topics
from neo.fleet.brokers import identify
from neo.fleet.clock import SYSTEM_CLOCK, random_id
from neo.fleet.inventory import read_inventory
from neo.fleet.transport import MqttTransport
from neo.link import SYSTEM_TLS, Connected, Message
from tests.fleet.devices import TOPICS, make_capabilities
from tests.test_link import linked

COUNT = 400
LEAVES = ("presence", "capabilities", "state", "assignment")


def retain(url, count: int) -> None:
    """Count messages on each of four leaves, as devices do."""
    with linked(url, name="writer") as (writer, _):
        for number in range(count):
            for leaf in LEAVES:
                while writer.backlog > 200:
                    time.sleep(0.001)
                payload = make_capabilities(f"d{number}").to_bytes() if leaf == "capabilities" else b"{}" + bytes(300)
                writer.publish(TOPICS.device(f"d{number}", leaf), payload, retain=True)
        # closed before that, a slow machine's broker would never get the last ones
        deadline = time.monotonic() + 60
        while writer.backlog and time.monotonic() < deadline:
            time.sleep(0.001)
        assert not writer.backlog


@pytest.mark.parametrize("attempt", range(3))
def test_a_marker_comes_back_after_the_retained_messages_of_all_filters(broker, attempt):
    retain(broker.url, 100)
    marker = TOPICS.operator(f"m{attempt}", "marker")
    watched = [*map(TOPICS.devices, LEAVES), marker]
    seen = []
    with linked(broker.url, name="reader", watched=watched) as (reader, inbox):
        while marker not in seen:
            event = inbox.get(timeout=20)
            if isinstance(event, Connected):
                reader.publish(marker, b"", qos=0)
            elif isinstance(event, Message):
                seen.append(event.topic)
    # not "once each": what the broker still had to route when the reader came, it sends a second time, as MQTT allows
    assert set(seen) == {marker, *(TOPICS.device(f"d{n}", leaf) for n in range(100) for leaf in LEAVES)}
    assert seen[-1] == marker


def test_the_brokers_of_the_tests_are_known(broker):
    transport = MqttTransport(broker.url, SYSTEM_TLS, random_id)
    identity = identify(transport, Topics(), clock=SYSTEM_CLOCK, new_id=random_id)
    assert identity.kind is not None, identity.version


def test_more_messages_than_a_broker_queues_at_qos_1_arrive_whole_in_the_inventory(broker):
    retain(broker.url, COUNT)
    inventory = read_inventory(broker.url, TOPICS)
    assert inventory.doubt == ""
    assert len(inventory.records) == COUNT
    assert all(record.capabilities is not None for record in inventory.records.values())
    assert {len(record.unreadable) for record in inventory.records.values()} == {3}  # none of the others is missing

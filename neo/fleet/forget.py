"""Taking a device out of a fleet: what the broker retains of it, and what the operator remembers."""

from __future__ import annotations

from typing import Protocol

from neo.contract.topics import Topics
from neo.errors import DeviceError
from neo.fleet.clock import Clock, NewId
from neo.fleet.inventory import inventory_over
from neo.fleet.observe import topic_of
from neo.fleet.records import Leaf
from neo.fleet.transport import Transport

SIGNED_LEAVES = ("desired",)  # beside those of ``Leaf``
POLL_S = 0.05


class Book(Protocol):
    def forget(self, fleet: str, device: str) -> bool: ...


def forget_device(
    transport: Transport,
    topics: Topics,
    device: str,
    book: Book,
    *,
    force: bool,
    clock: Clock,
    new_id: NewId,
    timeout_s: float,
) -> bool:
    """Clear all that is retained of the device, then forget it. -> was anything known of it?

    force: also while it is online; it comes back as a new device then, unless its rights at the broker are taken.
    Raises BrokerError, DatabaseError; DeviceError if it is online.
    """
    record = inventory_over(transport, topics, device=device, clock=clock, new_id=new_id).records.get(device)
    if record is not None and record.online and not force:
        raise DeviceError(
            f"device {device} is online, and would be a new device at once",
            hint="stop its agent first, or take its user away at the broker; --force forgets it all the same",
        )
    held = [topic_of(topics, device, leaf) for leaf in Leaf]
    held += [topics.signed(device, leaf) for leaf in SIGNED_LEAVES]
    connection = transport.connect("forget", watched=[])
    try:
        for topic in held:
            connection.publish(topic, b"", retain=True)
        deadline = clock.monotonic() + timeout_s
        while connection.backlog and clock.monotonic() < deadline:
            connection.next_event(POLL_S)
    finally:
        connection.close()
    return book.forget(topics.fleet, device) or record is not None

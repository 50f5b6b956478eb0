"""Who is in the fleet, and whether that is everybody. docs/fleet.md explains how that is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from neo.contract.topics import Topics
from neo.errors import IncompleteInventory
from neo.fleet.brokers import identify
from neo.fleet.clock import SYSTEM_CLOCK, Clock, NewId, random_id
from neo.fleet.keyring import KeyRing
from neo.fleet.members import Member
from neo.fleet.observe import Observer, device_topics
from neo.fleet.reading import Reading
from neo.fleet.records import DeviceRecord
from neo.fleet.transport import Connection, MqttTransport, Transport
from neo.link import SYSTEM_TLS, BrokerUrl, Message, Tls


@dataclass(frozen=True, slots=True)
class Inventory:
    """The devices that the broker remembers."""

    #: device id -> record
    records: Mapping[str, DeviceRecord]
    #: why devices may be missing; "" if all that were retained are here
    doubt: str = ""
    #: in the roster, but the broker holds nothing that they have said; see ``neo.fleet.roster``
    absent: tuple[Member, ...] = ()

    @property
    def is_complete(self) -> bool:
        return not self.doubt

    def incomplete(self, wanted: str, *, hint: str) -> IncompleteInventory:
        """The error for who needs what may be missing. wanted: what cannot be done, as a sentence without its end."""
        return IncompleteInventory(
            f"{wanted}: the list of {len(self.records)} devices may be incomplete, because {self.doubt}",
            hint=hint,
            details={"known": sorted(self.records), "doubt": self.doubt},
        )


def take_inventory(
    connection: Connection, reading: Reading, observer: Observer, others: Callable[[Message], None] = lambda _: None
) -> Inventory:
    """Read until the end of what is retained. connection: watches ``device_topics`` and ``reading.topics``.

    others: takes the messages that are about no device.
    """
    while not reading.is_over:
        event = connection.next_event(reading.timeout_s)
        if event is None:
            reading.take_silence(connection)
            continue
        reading.take(event, connection)
        if isinstance(event, Message) and observer.observe(event) is None and event.topic not in reading.topics:
            others(event)
    return Inventory(dict(observer.records), reading.doubt)


def read_inventory(
    url: BrokerUrl, topics: Topics, *, device: str | None = None, tls: Tls = SYSTEM_TLS, keys: KeyRing | None = None
) -> Inventory:
    """Every device the broker remembers; device: one to ask for in particular. keys: whose reports are believed.

    Raises BrokerError.
    """
    transport = MqttTransport(url, tls, random_id)
    return inventory_over(transport, topics, device=device, clock=SYSTEM_CLOCK, new_id=random_id, keys=keys)


def inventory_over(
    transport: Transport,
    topics: Topics,
    *,
    device: str | None,
    clock: Clock,
    new_id: NewId,
    keys: KeyRing | None = None,
) -> Inventory:
    """As ``read_inventory``, over any transport."""
    broker = identify(transport, topics, clock=clock, new_id=new_id)
    reading = Reading(broker, topics, clock=clock, new_id=new_id)
    named = [] if device is None else [device]
    connection = transport.connect("status", watched=[*device_topics(topics, *named), *reading.topics])
    try:
        return take_inventory(connection, reading, Observer(topics, keys))
    finally:
        connection.close()

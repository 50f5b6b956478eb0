"""Who is in the fleet: the retained messages of all devices, folded into one record for each."""

from __future__ import annotations

import logging
import queue
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from neo.contract.device import Capabilities, parse_name
from neo.contract.fields import ContractError
from neo.contract.messages import Assignment, DeviceState, Presence
from neo.contract.topics import Topics
from neo.link import SYSTEM_TLS, BrokerUrl, Connected, Event, Link, Message, Tls

log = logging.getLogger(__name__)

LEAVES = ("presence", "capabilities", "state", "assignment")
CONNECT_S = 10.0
QUIET_S = 0.3  # retained messages come in one burst after the subscription; this long after the last, it is over
LIMIT_S = 3.0


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """What is known of one device; None where nothing (or nothing readable) is retained.

    unreadable: leaf -> why its message cannot be read.
    """

    device: str
    presence: Presence | None = None
    capabilities: Capabilities | None = None
    state: DeviceState | None = None
    assignment: Assignment | None = None
    unreadable: Mapping[str, str] = field(default_factory=dict)

    @property
    def online(self) -> bool:
        return self.presence is not None and self.presence.online

    @property
    def last_seen(self) -> float | None:
        """Unix time in seconds, by the device's clock."""
        times = [said.at for said in (self.presence, self.state) if said is not None]
        return max(times, default=None)

    @property
    def speaks(self) -> bool:
        """The state comes from the session that is online now."""
        return (
            self.state is not None
            and self.presence is not None
            and self.presence.online
            and self.presence.session == self.state.session
        )

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong, in words."""
        found = [f"its {leaf} message cannot be read: {why}" for leaf, why in sorted(self.unreadable.items())]
        if self.presence is None and "presence" not in self.unreadable:
            found.append("it has never connected")
        if self.state is not None and self.state.error is not None:
            found.append(str(self.state.error.get("message") or "it reports an error without a message"))
        elif self.assignment is not None and (self.state is None or self.state.assignment != self.assignment.id):
            found.append(f"it has not taken up {self.assignment.reference} yet")
        return tuple(found)


def fold(records: Mapping[str, DeviceRecord], topics: Topics, message: Message) -> dict[str, DeviceRecord]:
    """The records after this message. A message that cannot be read is noted in the record, never raised; one that is
    no device's is ignored. Between topics the order of messages does not matter.
    """
    place = topics.device_of(message.topic)
    if place is None or place[1] not in LEAVES or not _is_name(place[0]):
        return dict(records)
    device, leaf = place
    record = records.get(device, DeviceRecord(device))
    unreadable = {key: why for key, why in record.unreadable.items() if key != leaf}
    value: Any = None
    try:
        value = _read(device, leaf, message.payload) if message.payload else None
    except ContractError as error:
        unreadable[leaf] = error.message
    return {**records, device: replace(record, unreadable=unreadable, **{leaf: value})}


def collect(
    inbox: queue.SimpleQueue[Event], topics: Topics, *, quiet_s: float = QUIET_S, limit_s: float = LIMIT_S
) -> tuple[dict[str, DeviceRecord], tuple[Message, ...]]:
    """Fold what arrives until nothing has for quiet_s after the subscription, limit_s at most.

    -> the records, and the messages that are not about devices.
    """
    records: dict[str, DeviceRecord] = {}
    others: list[Message] = []
    connected = False
    deadline = time.monotonic() + limit_s
    while (left := deadline - time.monotonic()) > 0:
        try:
            event = inbox.get(timeout=min(quiet_s, left) if connected else left)
        except queue.Empty:
            break
        connected = connected or isinstance(event, Connected)
        if isinstance(event, Message):
            if topics.device_of(event.topic) is None:
                others.append(event)
            records = fold(records, topics, event)
    return records, tuple(others)


def device_topics(topics: Topics, *named: str) -> list[str]:
    """Filters for all devices, and for the named ones again without a wildcard: RabbitMQ sends what is retained to
    those only.
    """
    return [*map(topics.devices, LEAVES), *(topics.device(device, leaf) for device in named for leaf in LEAVES)]


def read_inventory(
    url: BrokerUrl, topics: Topics, *, device: str | None = None, tls: Tls = SYSTEM_TLS
) -> tuple[DeviceRecord, ...]:
    """Every device the broker remembers, by name; device: one to ask for in particular. Raises BrokerError."""
    inbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
    subscriptions = device_topics(topics, *([] if device is None else [device]))
    link = Link(url, client_id=f"neo-status-{secrets.token_hex(6)}", subscriptions=subscriptions, inbox=inbox, tls=tls)
    link.connect(CONNECT_S)
    try:
        records, _ = collect(inbox, topics)
    finally:
        link.stop()
    return tuple(records[device] for device in sorted(records))


def _read(device: str, leaf: str, payload: bytes) -> Presence | Capabilities | DeviceState | Assignment:
    if leaf == "presence":
        return Presence.from_bytes(payload)
    if leaf == "state":
        return DeviceState.from_bytes(payload)
    if leaf == "assignment":
        return Assignment.from_bytes(payload)
    capabilities = Capabilities.from_bytes(payload)
    if capabilities.device_id != device:
        raise ContractError(f"they are those of {capabilities.device_id!r}")
    return capabilities


def _is_name(text: str) -> bool:
    try:
        parse_name(text, "device id")
    except ContractError:
        return False
    return True

"""From messages to device records: a stream of observations, each with all that is known of the device after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from neo.contract.device import Capabilities
from neo.contract.fields import ContractError
from neo.contract.messages import Assignment, DeviceState, Presence
from neo.contract.topics import Topics
from neo.fleet.records import DeviceRecord, Leaf
from neo.link import Message

_LEAVES = {leaf.value: leaf for leaf in Leaf}


@dataclass(frozen=True, slots=True)
class Observation:
    """One message about a device."""

    #: what the message was about
    leaf: Leaf
    #: all that is known of the device after it
    record: DeviceRecord


class Observer:
    """Keeps the newest record of every device. Not thread-safe.

    The work for a message does not depend on how many devices are known.
    """

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._records: dict[str, DeviceRecord] = {}

    @property
    def records(self) -> Mapping[str, DeviceRecord]:
        """Device id -> its newest record. A view: it changes with ``observe``."""
        return MappingProxyType(self._records)

    def observe(self, message: Message) -> Observation | None:
        """None if the message is about no device. One that cannot be read is noted in the record, never raised.
        Between topics the order of messages does not matter.
        """
        parts = self._topics.device_of(message.topic)
        if parts is None or (leaf := _LEAVES.get(parts[1])) is None:
            return None
        device = parts[0]
        record = self._records.get(device) or DeviceRecord(device)
        value, why = None, ""
        try:
            value = _read(device, leaf, message.payload) if message.payload else None
        except ContractError as error:
            why = error.message
        record = record.having(leaf, value, why)
        self._records[device] = record
        return Observation(leaf, record)


def device_topics(topics: Topics, *named: str) -> list[str]:
    """Filters for all devices, and for the named ones again without a wildcard: RabbitMQ sends what is retained to
    those only.
    """
    leaves = [leaf.value for leaf in Leaf]
    return [*map(topics.devices, leaves), *(topics.device(device, leaf) for device in named for leaf in leaves)]


def _read(device: str, leaf: Leaf, payload: bytes) -> Presence | Capabilities | DeviceState | Assignment:
    if leaf is Leaf.PRESENCE:
        return Presence.from_bytes(payload)
    if leaf is Leaf.STATE:
        return DeviceState.from_bytes(payload)
    if leaf is Leaf.ASSIGNMENT:
        return Assignment.from_bytes(payload)
    capabilities = Capabilities.from_bytes(payload)
    if capabilities.device_id != device:
        raise ContractError(f"they are those of {capabilities.device_id!r}")
    return capabilities

"""From messages to device records: a stream of observations, each with all that is known of the device after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from neo.contract.device import Capabilities
from neo.contract.fields import ContractError
from neo.contract.messages import Assignment, DeviceState, Presence
from neo.contract.topics import Topics
from neo.errors import TrustError
from neo.fleet.keyring import BELIEVED, KeyRing, Trust
from neo.fleet.records import DeviceRecord, Leaf
from neo.link import Message
from neo.trust.documents import open_report

_UNSIGNED = {leaf.value: leaf for leaf in Leaf if leaf is not Leaf.REPORT}


@dataclass(frozen=True, slots=True)
class Observation:
    """One message about a device."""

    #: what the message was about
    leaf: Leaf
    #: all that is known of the device after it
    record: DeviceRecord


class Observer:
    """Keeps the newest record of every device. Not thread-safe.

    keys: whose reports are believed; None: the first key of each device is.

    The work for a message does not depend on how many devices are known.
    """

    def __init__(self, topics: Topics, keys: KeyRing | None = None) -> None:
        self._topics = topics
        self._keys = KeyRing() if keys is None else keys
        self._records: dict[str, DeviceRecord] = {}

    @property
    def records(self) -> Mapping[str, DeviceRecord]:
        """Device id -> its newest record. A view: it changes with ``observe``."""
        return MappingProxyType(self._records)

    def observe(self, message: Message) -> Observation | None:
        """None if the message is about no device. One that cannot be read is noted in the record, never raised.
        Between topics the order of messages does not matter.
        """
        place = self._place_of(message.topic)
        if place is None:
            return None
        device, leaf = place
        record = self._records.get(device) or DeviceRecord(device, trust=self._keys.without_report(device))
        if leaf is Leaf.REPORT:
            record = self._having_report(record, message.payload)
        else:
            value, why = None, ""
            try:
                value = _read(device, leaf, message.payload) if message.payload else None
            except ContractError as error:
                why = error.message
            record = record.having(leaf, value, why)
        self._records[device] = record
        return Observation(leaf, record)

    def _place_of(self, topic: str) -> tuple[str, Leaf] | None:
        parts = self._topics.device_of(topic)
        if parts is not None:
            leaf = _UNSIGNED.get(parts[1])
            return None if leaf is None else (parts[0], leaf)
        parts = self._topics.signed_of(topic)
        return (parts[0], Leaf.REPORT) if parts is not None and parts[1] == Leaf.REPORT.value else None

    def _having_report(self, record: DeviceRecord, payload: bytes) -> DeviceRecord:
        """One that is not believed takes nothing from what was believed before."""
        device, believed = record.device, record.report
        if not payload:
            return record.having(Leaf.REPORT, None, "", self._keys.without_report(device))
        try:
            signed = open_report(payload)
        except TrustError:
            return record.having(Leaf.REPORT, believed, "", Trust.FORGED)
        except ContractError as error:
            return record.having(Leaf.REPORT, believed, error.message)
        if (signed.report.fleet, signed.report.device) != (self._topics.fleet, device):
            return record.having(Leaf.REPORT, believed, "", Trust.FORGED)
        trust = self._keys.judge(device, signed)
        return record.having(Leaf.REPORT, signed.report if trust in BELIEVED else believed, "", trust)


def device_topics(topics: Topics, *named: str) -> list[str]:
    """Filters for all devices, and for the named ones again without a wildcard: RabbitMQ sends what is retained to
    those only.
    """
    filters = [*map(topics.devices, _UNSIGNED), topics.signed_of_devices(Leaf.REPORT.value)]
    return [*filters, *(topic_of(topics, device, leaf) for device in named for leaf in Leaf)]


def topic_of(topics: Topics, device: str, leaf: Leaf) -> str:
    return topics.signed(device, leaf.value) if leaf is Leaf.REPORT else topics.device(device, leaf.value)


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

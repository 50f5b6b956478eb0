"""MQTT topics. Four slashes deep and ASCII: fits AWS IoT's limit of seven slashes and 256 bytes, and every broker's.

::

    neo/v1/<fleet>/device/<id>/presence      device -> fleet   retained, also the last will
    neo/v1/<fleet>/device/<id>/capabilities  device -> fleet   retained
    neo/v1/<fleet>/device/<id>/state         device -> fleet   retained
    neo/v1/<fleet>/device/<id>/roll-call     device -> device  "is another agent using this id?"
    neo/v1/<fleet>/device/<id>/assignment    fleet -> device   retained
    neo/v1/<fleet>/device/<id>/chunk         source -> device  binary
    neo/v1/<fleet>/source/<id>/want          device -> source  what a device is missing
    neo/v1/<fleet>/source/<id>/presence      source -> fleet   retained, also the last will
    neo/v1/<fleet>/operator/<id>/marker      operator -> itself  "all before this has arrived"

    neo/v2/<fleet>/device/<id>/desired       fleet -> device   retained, signed: what the device shall run
    neo/v2/<fleet>/device/<id>/report        device -> fleet   retained, signed: what it says of itself
    neo/v2/<fleet>/device/<id>/chunk         source -> device  binary, for this device alone
    neo/v2/<fleet>/blob/<group>/<sha256>     source -> devices binary, for all who miss something of the blob
    neo/v2/<fleet>/source/<id>/want          device -> source  all that a device is missing
    neo/v2/<fleet>/tuf/timestamp             fleet -> devices  retained, at most 1 kB: how new the set is
    neo/v2/<fleet>/tuf/set                   fleet -> devices  retained, at most 100 KiB: who may say what, and releases
"""

from __future__ import annotations

from dataclasses import dataclass

from neo.contract.device import is_name, parse_name
from neo.contract.oci import parse_digest

DEFAULT_FLEET = "default"
EVERYBODY = "all"  # the group of devices that may have whatever the fleet has


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one fleet. Raises ContractError for a name that may not stand in a topic."""

    fleet: str = DEFAULT_FLEET

    def __post_init__(self) -> None:
        parse_name(self.fleet, "fleet")

    def device(self, device_id: str, leaf: str) -> str:
        return f"neo/v1/{self.fleet}/device/{parse_name(device_id, 'device id')}/{leaf}"

    def source(self, source_id: str, leaf: str) -> str:
        return f"neo/v1/{self.fleet}/source/{parse_name(source_id, 'source id')}/{leaf}"

    def operator(self, operator_id: str, leaf: str) -> str:
        return f"neo/v1/{self.fleet}/operator/{parse_name(operator_id, 'operator id')}/{leaf}"

    def tuf(self, leaf: str) -> str:
        """leaf: "timestamp" or "set"."""
        return f"neo/v2/{self.fleet}/tuf/{leaf}"

    def tuf_of(self, topic: str) -> str | None:
        """The leaf of one of the two topics, None for any other."""
        return next((leaf for leaf in ("timestamp", "set") if topic == self.tuf(leaf)), None)

    def devices(self, leaf: str) -> str:
        """A filter for one leaf of all devices."""
        return f"neo/v1/{self.fleet}/device/+/{leaf}"

    def signed(self, device_id: str, leaf: str) -> str:
        """The topic of a signed document about one device."""
        return f"neo/v2/{self.fleet}/device/{parse_name(device_id, 'device id')}/{leaf}"

    def signed_of_devices(self, leaf: str) -> str:
        """A filter for one signed document of all devices."""
        return f"neo/v2/{self.fleet}/device/+/{leaf}"

    def chunk(self, device_id: str) -> str:
        """Where chunks for one device alone go, in wire 2."""
        return self.signed(device_id, "chunk")

    def blob(self, digest: str, group: str = EVERYBODY) -> str:
        """Where chunks go that several devices of the group miss."""
        sha256 = parse_digest(digest).removeprefix("sha256:")
        return f"neo/v2/{self.fleet}/blob/{parse_name(group, 'group')}/{sha256}"

    def missing(self, source_id: str) -> str:
        """Where a source of wire 2 hears what devices miss."""
        return f"neo/v2/{self.fleet}/source/{parse_name(source_id, 'source id')}/want"

    def is_blob(self, topic: str) -> bool:
        """Does the topic bring chunks for several devices of this fleet?"""
        return topic.startswith(f"neo/v2/{self.fleet}/blob/")

    def device_of(self, topic: str) -> tuple[str, str] | None:
        """(device id, leaf) of a topic of this fleet's devices, None for any other topic, or an id that is no name."""
        return self._device_of(topic, "v1")

    def signed_of(self, topic: str) -> tuple[str, str] | None:
        """As ``device_of``, for the topics of signed documents."""
        return self._device_of(topic, "v2")

    def _device_of(self, topic: str, version: str) -> tuple[str, str] | None:
        parts = topic.split("/")
        if len(parts) == 6 and parts[:4] == ["neo", version, self.fleet, "device"]:
            return (parts[4], parts[5]) if is_name(parts[4]) else None
        return None

"""What travels over MQTT. JSON except Chunk. A message of a broker is untrusted: parsing validates or raises.

Every message says the version of its format; the first program that wrote them did not, and that was version 1. A
message of a later version is refused as NewerFormat.
"""

from __future__ import annotations

import enum
import re
import struct
from dataclasses import dataclass
from typing import Any, ClassVar

from neo.contract.device import parse_name
from neo.contract.fields import (
    MAX_JSON_BYTES,
    ContractError,
    as_document,
    as_object,
    as_string,
    dump_object,
    get,
    get_number,
    get_size,
    parse_object,
)
from neo.contract.oci import Descriptor, parse_digest
from neo.contract.versions import VERSION_KEY, NewerFormat, require_version

MAX_PAYLOAD_BYTES = 128_000  # AWS IoT's limit is 128 KiB, topic and header included; others allow more
MAX_WANT_BYTES = 64 << 20
MESSAGE_VERSION = 1


class Phase(enum.Enum):
    """What an agent is doing; the values stand in messages and on disk."""

    IDLE = "idle"
    FETCHING = "fetching"
    TESTING = "testing"
    SWITCHING = "switching"
    #: the assigned bundle is live
    ACTIVE = "active"
    #: it is not, and the state says why
    FAILED = "failed"


PHASES = tuple(phase.value for phase in Phase)


def _parse(data: bytes, what: str, max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
    obj = parse_object(data, what=what, max_bytes=max_bytes)
    require_version(obj, MESSAGE_VERSION, what)
    return obj


def _dump(value: dict[str, Any]) -> bytes:
    return dump_object({VERSION_KEY: MESSAGE_VERSION, **value})


@dataclass(frozen=True, slots=True)
class Presence:
    """Somebody came or went. session: a new random id for every start of a program. at: Unix time in seconds, the
    sender's clock, when the sender connected or last gave a sign of life (a last will is written beforehand).
    """

    online: bool
    session: str
    at: float

    @classmethod
    def from_bytes(cls, data: bytes) -> Presence:
        obj = _parse(data, "presence")
        return cls(
            get(obj, "online", bool, "presence"),
            parse_name(obj.get("session"), "presence.session"),
            get_number(obj, "at", "presence"),
        )

    def to_bytes(self) -> bytes:
        return _dump({"online": self.online, "session": self.session, "at": self.at})


@dataclass(frozen=True, slots=True)
class RollCall:
    """asks=True: "whoever uses this device id, answer". asks=False: the answer. session: the sender's."""

    session: str
    asks: bool

    @classmethod
    def from_bytes(cls, data: bytes) -> RollCall:
        obj = _parse(data, "roll call")
        return cls(parse_name(obj.get("session"), "roll call.session"), get(obj, "asks", bool, "roll call"))

    def to_bytes(self) -> bytes:
        return _dump({"session": self.session, "asks": self.asks})


@dataclass(frozen=True, slots=True)
class Assignment:
    """Make this bundle live. manifest: the bundle's OCI manifest. signature: the signed statement about it.
    source: the id of the store that serves the blobs. An empty retained payload withdraws an assignment.
    """

    id: str
    reference: str
    manifest: Descriptor
    signature: Descriptor
    source: str
    at: float

    @classmethod
    def from_bytes(cls, data: bytes) -> Assignment:
        obj = _parse(data, "assignment")
        return cls(
            parse_name(obj.get("id"), "assignment.id"),
            as_string(obj.get("reference"), "assignment.reference"),
            Descriptor.from_json(obj.get("manifest")),
            Descriptor.from_json(obj.get("signature")),
            parse_name(obj.get("source"), "assignment.source"),
            get_number(obj, "at", "assignment"),
        )

    def to_bytes(self) -> bytes:
        return _dump(
            {
                "id": self.id,
                "reference": self.reference,
                "manifest": self.manifest.to_json(),
                "signature": self.signature.to_json(),
                "source": self.source,
                "at": self.at,
            }
        )


@dataclass(frozen=True, slots=True)
class Live:
    """The bundle that answers predictions. digest: of its OCI manifest. since: Unix time in seconds."""

    digest: str
    reference: str
    engine: str
    since: float

    @classmethod
    def from_json(cls, value: Any) -> Live:
        obj = as_object(value, "live")
        return cls(
            parse_digest(obj.get("digest"), "live.digest"),
            get(obj, "reference", str, "live"),
            get(obj, "engine", str, "live"),
            get_number(obj, "since", "live"),
        )

    def to_json(self) -> dict[str, Any]:
        return {"digest": self.digest, "reference": self.reference, "engine": self.engine, "since": self.since}


@dataclass(frozen=True, slots=True)
class DeviceState:
    """What the device says of itself. assignment: the id it is working on or has finished, "" if none.

    done_bytes, total_bytes: of the transfer. error: NeoError.to_json(), None if nothing is wrong. url: where the
    device itself serves predictions, for a person who is on it.
    """

    session: str
    phase: str
    assignment: str
    live: Live | None
    done_bytes: int
    total_bytes: int
    error: dict[str, Any] | None
    url: str
    at: float

    @classmethod
    def from_bytes(cls, data: bytes) -> DeviceState:
        what = "device state"
        obj = _parse(data, what)
        phase = get(obj, "phase", str, what)
        if phase not in PHASES:
            raise ContractError(f"{what}.phase is {phase[:40]!r}, not one of {', '.join(PHASES)}")
        return cls(
            parse_name(obj.get("session"), f"{what}.session"),
            phase,
            as_string(obj.get("assignment"), f"{what}.assignment"),
            None if obj.get("live") is None else Live.from_json(obj["live"]),
            get_size(obj, "done_bytes", what),
            get_size(obj, "total_bytes", what),
            None if obj.get("error") is None else as_document(obj["error"], f"{what}.error"),
            as_string(obj.get("url"), f"{what}.url"),
            get_number(obj, "at", what),
        )

    def to_bytes(self) -> bytes:
        return _dump(
            {
                "session": self.session,
                "phase": self.phase,
                "assignment": self.assignment,
                "live": None if self.live is None else self.live.to_json(),
                "done_bytes": self.done_bytes,
                "total_bytes": self.total_bytes,
                "error": self.error,
                "url": self.url,
                "at": self.at,
            }
        )


@dataclass(frozen=True, slots=True)
class Want:
    """A device asks for length bytes of a blob from offset on; the source answers with chunks, in order."""

    device_id: str
    digest: str
    offset: int
    length: int

    @classmethod
    def from_bytes(cls, data: bytes) -> Want:
        obj = _parse(data, "want", max_bytes=4096)
        length = get_size(obj, "length", "want")
        if not 0 < length <= MAX_WANT_BYTES:
            raise ContractError(f"want.length is {length}; 1 to {MAX_WANT_BYTES} bytes can be asked for at once")
        return cls(
            parse_name(obj.get("device_id"), "want.device_id"),
            parse_digest(obj.get("digest"), "want.digest"),
            get_size(obj, "offset", "want"),
            length,
        )

    def to_bytes(self) -> bytes:
        return _dump({"device_id": self.device_id, "digest": self.digest, "offset": self.offset, "length": self.length})


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes of a blob from offset on. absent=True (and no data): the source does not have the blob."""

    digest: str
    offset: int
    data: bytes
    absent: bool = False

    # magic, flags, sha256, offset
    _HEADER: ClassVar[struct.Struct] = struct.Struct(">4sB32sQ")
    _MAGIC: ClassVar[bytes] = b"NEO1"
    _LATER: ClassVar[re.Pattern[bytes]] = re.compile(rb"NEO[2-9]")
    MAX_DATA_BYTES: ClassVar[int] = MAX_PAYLOAD_BYTES - 45

    @classmethod
    def from_bytes(cls, payload: bytes) -> Chunk:
        if not cls._HEADER.size <= len(payload) <= MAX_PAYLOAD_BYTES:
            raise ContractError(f"a chunk of {len(payload)} bytes")
        magic, flags, sha256, offset = cls._HEADER.unpack_from(payload)
        if cls._LATER.fullmatch(magic):
            raise NewerFormat(
                f"a chunk of a newer neo-edge ({magic.decode()}); this version reads {cls._MAGIC.decode()}"
            )
        if magic != cls._MAGIC or flags > 1 or offset >= 1 << 63 or (flags and len(payload) > cls._HEADER.size):
            raise ContractError("not a chunk of this protocol version")
        return cls("sha256:" + sha256.hex(), offset, payload[cls._HEADER.size :], bool(flags))

    def to_bytes(self) -> bytes:
        sha256 = bytes.fromhex(self.digest.removeprefix("sha256:"))
        return self._HEADER.pack(self._MAGIC, int(self.absent), sha256, self.offset) + self.data

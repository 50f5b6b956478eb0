"""Who is there, what it is assigned, and what it says of itself."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from neo.contract.fields import ContractError, as_document, as_object, as_string, get, get_number, get_size
from neo.contract.messages.wire import dump_message, parse_message
from neo.contract.names import parse_name
from neo.contract.oci import Descriptor, parse_digest


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
        obj = parse_message(data, "presence")
        return cls(
            get(obj, "online", bool, "presence"),
            parse_name(obj.get("session"), "presence.session"),
            get_number(obj, "at", "presence"),
        )

    def to_bytes(self) -> bytes:
        return dump_message({"online": self.online, "session": self.session, "at": self.at})


@dataclass(frozen=True, slots=True)
class RollCall:
    """asks=True: "whoever uses this device id, answer". asks=False: the answer. session: the sender's."""

    session: str
    asks: bool

    @classmethod
    def from_bytes(cls, data: bytes) -> RollCall:
        obj = parse_message(data, "roll call")
        return cls(parse_name(obj.get("session"), "roll call.session"), get(obj, "asks", bool, "roll call"))

    def to_bytes(self) -> bytes:
        return dump_message({"session": self.session, "asks": self.asks})


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
        obj = parse_message(data, "assignment")
        return cls(
            parse_name(obj.get("id"), "assignment.id"),
            as_string(obj.get("reference"), "assignment.reference"),
            Descriptor.from_json(obj.get("manifest")),
            Descriptor.from_json(obj.get("signature")),
            parse_name(obj.get("source"), "assignment.source"),
            get_number(obj, "at", "assignment"),
        )

    def to_bytes(self) -> bytes:
        return dump_message(
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
    #: why what the device trusts may be stale, or its clock is not believed; "" if all is well
    trust: str = ""

    @classmethod
    def from_bytes(cls, data: bytes) -> DeviceState:
        what = "device state"
        obj = parse_message(data, what)
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
            as_string(obj.get("trust", ""), f"{what}.trust"),
        )

    def to_bytes(self) -> bytes:
        return dump_message(
            {
                **({"trust": self.trust} if self.trust else {}),
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

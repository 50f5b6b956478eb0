"""What is remembered of one device."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Standing(str, enum.Enum):
    """How a device came into the roster; the values stand in the database."""

    #: it has said something, which anybody may who can publish
    SEEN = "seen"
    #: the operator gave it a token, and it answered with its key
    ENROLLED = "enrolled"


@dataclass(frozen=True, slots=True)
class Member:
    """One device of the roster. Times are Unix times in seconds, by the operator's clock."""

    device: str
    standing: Standing
    first_seen: float
    #: when a command last found something of it at a broker; None: never
    last_seen: float | None
    #: which broker that was, "host:port"; "" if it was never seen
    broker: str
    #: the public key of its reports, as its reports carry it; None: none was seen yet
    key: bytes | None
    #: since when that key is believed
    key_since: float | None
    #: since when nothing of it is believed; None: it is
    revoked_at: float | None
    #: of the newest report that was believed; older ones are replayed
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class WrittenDocument:
    """The last desired state that an operator wrote for a device, from this database."""

    device: str
    #: strictly rising for a device
    counter: int
    #: of the document's bytes
    digest: str
    #: Unix time in seconds
    written_at: float

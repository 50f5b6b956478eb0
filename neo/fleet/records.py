"""What is known of one device."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from neo.contract.device import Capabilities
from neo.contract.messages import Assignment, DeviceState, Live, Presence, Report
from neo.fleet.keyring import Trust


class Leaf(str, enum.Enum):
    """The last level of the topics that are retained for a device."""

    PRESENCE = "presence"
    CAPABILITIES = "capabilities"
    STATE = "state"
    ASSIGNMENT = "assignment"
    #: signed, and so among the topics of signed documents
    REPORT = "report"


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """What the broker remembers of one device; None where nothing (or nothing readable) is retained."""

    device: str
    presence: Presence | None = None
    capabilities: Capabilities | None = None
    #: what it says of itself without a signature; ``told`` is what is believed
    state: DeviceState | None = None
    assignment: Assignment | None = None
    #: its newest report that is believed
    report: Report | None = None
    trust: Trust = Trust.UNSIGNED
    #: leaf -> why its message cannot be read
    unreadable: Mapping[Leaf, str] = field(default_factory=dict)

    def having(self, leaf: Leaf, value: Any, unreadable: str, trust: Trust | None = None) -> DeviceRecord:
        """The record after a message. value: None if nothing is retained there, or, with why, if it is unreadable.
        trust: as it is now; None: as before.
        """
        why = self.unreadable
        if unreadable:
            why = {**why, leaf: unreadable}
        elif leaf in why:
            why = {key: reason for key, reason in why.items() if key is not leaf}
        # spelled out: dataclasses.replace takes as long as reading the message
        return DeviceRecord(
            self.device,
            value if leaf is Leaf.PRESENCE else self.presence,
            value if leaf is Leaf.CAPABILITIES else self.capabilities,
            value if leaf is Leaf.STATE else self.state,
            value if leaf is Leaf.ASSIGNMENT else self.assignment,
            value if leaf is Leaf.REPORT else self.report,
            self.trust if trust is None else trust,
            why,
        )

    @property
    def online(self) -> bool:
        return self.presence is not None and self.presence.online

    @property
    def told(self) -> DeviceState | None:
        """What the device says of itself, as far as it is believed: what it signed, and what it did not sign only if
        no key of it is known.
        """
        if self.report is not None:
            return _state_of(self.report)
        return self.state if self.trust is Trust.UNSIGNED else None

    @property
    def last_seen(self) -> float | None:
        """Unix time in seconds, by the device's clock."""
        times = [said.at for said in (self.presence, self.told) if said is not None]
        return max(times, default=None)

    @property
    def speaks(self) -> bool:
        """What it told comes from the session that is online now, or is signed."""
        return self.report is not None or (
            self.told is not None
            and self.presence is not None
            and self.presence.online
            and self.presence.session == self.told.session
        )

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong, in words."""
        found = [f"its {leaf.value} message cannot be read: {why}" for leaf, why in sorted(self.unreadable.items())]
        if self.presence is None and Leaf.PRESENCE not in self.unreadable:
            found.append("it has never connected")
        if self.trust in _DOUBTS:
            found.append(_DOUBTS[self.trust])
        if self.report is not None:
            found.extend(self.report.notes)
        told = self.told
        if told is not None and told.error is not None:
            found.append(str(told.error.get("message") or "it reports an error without a message"))
        elif self.assignment is not None and (told is None or told.assignment != self.assignment.id):
            found.append(f"it has not taken up {self.assignment.reference} yet")
        if told is not None and told.trust:
            found.append(f"its trust: {told.trust}")
        return tuple(found)


_FORGET = "if the device has a new key, `neo fleet forget` it: its next one is believed"
_DOUBTS = {
    Trust.WITHHELD: "it signed its reports before, and the broker holds none now; without one nothing is believed",
    Trust.FORGED: f"forged: its last report is not signed with its key, and is not believed; {_FORGET}",
    Trust.REPLAYED: "replayed: somebody brought back an old report of it, which is not believed",
    Trust.REVOKED: "it is revoked: nothing of it is believed",
}


def _state_of(report: Report) -> DeviceState:
    live = next(iter(report.live.values()), None)
    return DeviceState(
        session=report.session,
        phase=report.phase,
        assignment=report.assignment,
        live=None if live is None else Live(live.digest, live.reference, live.engine, live.since),
        done_bytes=report.done_bytes,
        total_bytes=report.total_bytes,
        error=None if report.error is None else dict(report.error),
        url=report.url,
        at=report.at,
    )

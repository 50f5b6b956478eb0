"""What is known of one device."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from neo.contract.device import Capabilities
from neo.contract.messages import Assignment, DeviceState, Presence


class Leaf(str, enum.Enum):
    """The last level of the topics that are retained for a device."""

    PRESENCE = "presence"
    CAPABILITIES = "capabilities"
    STATE = "state"
    ASSIGNMENT = "assignment"


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """What the broker remembers of one device; None where nothing (or nothing readable) is retained."""

    device: str
    presence: Presence | None = None
    capabilities: Capabilities | None = None
    state: DeviceState | None = None
    assignment: Assignment | None = None
    #: leaf -> why its message cannot be read
    unreadable: Mapping[Leaf, str] = field(default_factory=dict)

    def having(self, leaf: Leaf, value: Any, unreadable: str) -> DeviceRecord:
        """The record after a message. value: None if nothing is retained there, or, with why, if it is unreadable."""
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
            why,
        )

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
        found = [f"its {leaf.value} message cannot be read: {why}" for leaf, why in sorted(self.unreadable.items())]
        if self.presence is None and Leaf.PRESENCE not in self.unreadable:
            found.append("it has never connected")
        if self.state is not None and self.state.error is not None:
            found.append(str(self.state.error.get("message") or "it reports an error without a message"))
        elif self.assignment is not None and (self.state is None or self.state.assignment != self.assignment.id):
            found.append(f"it has not taken up {self.assignment.reference} yet")
        if self.state is not None and self.state.trust:
            found.append(f"its trust: {self.state.trust}")
        return tuple(found)

"""Saying "I am here", and making sure that nobody else says so under the same name.

A newcomer asks on the device's own roll-call topic and waits; an agent that has the id answers, and the newcomer
stops. Every connection begins with a roll call, also a reconnection: while this agent was away, another one with its
id may have asked, heard nothing and announced itself. An agent that had the id before (in this run, or in an earlier
one: it has a live model) goes on answering local predictions, stays silent on the broker and asks again from time to
time: a broker that makes up answers can keep it from being updated, but not from working.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass

from neo.contract.messages import Presence, RollCall
from neo.errors import DeviceIdInUse

logger = logging.getLogger(__name__)

ROLL_CALL_S = 1.5
LATE_ANSWER_S = 30.0
RENEW_S = 30.0
ASK_AGAIN_S = 60.0
REPEAT_S = 1.0


class Standing(enum.Enum):
    OFFLINE = "offline"
    ASKING = "asking"
    ANNOUNCED = "announced"
    STANDING_BY = "standing by"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """leaf: of the device's own topics."""

    leaf: str
    payload: bytes
    retain: bool


class PresenceKeeper:
    """Fed with what happens and the time (monotonic, s); -> what to publish. unix_time: for ``Presence.at``.
    had_id: this device had the id in an earlier run.
    """

    def __init__(self, device_id: str, session: str, unix_time: Callable[[], float], *, had_id: bool = False) -> None:
        self.standing = Standing.OFFLINE
        self._device_id = device_id
        self._session = session
        self._unix_time = unix_time
        self._had_id = had_id
        self._had_id_before = had_id
        self._asked_at = 0.0
        self._announced_at = 0.0
        self._announce_at = 0.0

    @property
    def announced(self) -> bool:
        return self.standing is Standing.ANNOUNCED

    def offline(self) -> Outgoing:
        """The last word, published at a clean stop; the same as the last will."""
        return Outgoing("presence", offline_payload(self._session, self._unix_time()), retain=True)

    def connected(self, now: float) -> list[Outgoing]:
        self.standing, self._asked_at, self._had_id_before = Standing.ASKING, now, self._had_id
        return [self._call(asks=True)]

    def disconnected(self) -> None:
        self.standing = Standing.OFFLINE

    def tick(self, now: float) -> list[Outgoing]:
        if self.standing is Standing.ASKING and now - self._asked_at >= ROLL_CALL_S:
            return self._announce(now)
        if self.standing is Standing.ANNOUNCED and now >= self._announce_at:
            return self._announce(now)
        if self.standing is Standing.STANDING_BY and now - self._asked_at >= ASK_AGAIN_S:
            return self.connected(now)
        return []

    def heard_roll_call(self, call: RollCall, now: float) -> list[Outgoing]:
        """Raises DeviceIdInUse if another agent has the id and this one never had it."""
        if call.session == self._session:
            return []
        if call.asks:
            return self._answer(call, now)
        if self.standing is not Standing.OFFLINE and now - self._asked_at <= LATE_ANSWER_S:
            self._yield_to(call.session)
        return []

    def heard_presence(self, presence: Presence) -> list[Outgoing]:
        """A last will that says the device is gone is corrected, once a second at most. Another agent that announced
        itself although this one has the id did not hear it: it is told again.
        """
        if self.standing is not Standing.ANNOUNCED:
            return []
        if not presence.online:
            self._announce_at = min(self._announce_at, self._announced_at + REPEAT_S)
        elif presence.session != self._session:
            return [self._call(asks=False)]
        return []

    def _answer(self, call: RollCall, now: float) -> list[Outgoing]:
        if self.standing is Standing.ANNOUNCED:
            return [self._call(asks=False)]
        if self.standing is Standing.ASKING and now - self._asked_at < ROLL_CALL_S:
            # both came at once: the lower session keeps the id
            if self._session < call.session:
                return [self._call(asks=False)]
            self._yield_to(call.session)
        return []

    def _yield_to(self, session: str) -> None:
        error = DeviceIdInUse(
            f"another agent is running as device {self._device_id!r} (session {session})",
            hint="stop the other agent, or give this one a name of its own with --device-id",
        )
        if not self._had_id_before:
            raise error
        logger.error("%s; standing by: predictions go on, the broker hears nothing of this device", error.message)
        self.standing = Standing.STANDING_BY

    def _announce(self, now: float) -> list[Outgoing]:
        self.standing, self._had_id = Standing.ANNOUNCED, True
        self._announced_at, self._announce_at = now, now + RENEW_S
        return [Outgoing("presence", Presence(True, self._session, self._unix_time()).to_bytes(), retain=True)]

    def _call(self, *, asks: bool) -> Outgoing:
        return Outgoing("roll-call", RollCall(self._session, asks).to_bytes(), retain=False)


def offline_payload(session: str, at: float) -> bytes:
    """What the broker publishes as the last will when the connection breaks."""
    return Presence(False, session, at).to_bytes()

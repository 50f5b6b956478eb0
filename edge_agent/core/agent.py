"""The agent's event loop: one thread, one queue. It reads no clock, opens no socket and chooses nothing by itself."""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from edge_agent.core.events import AgentEvent, Stop, WorkerExited
from edge_agent.core.presence import Outgoing, PresenceKeeper
from edge_agent.core.reports import Reporter
from edge_agent.core.trust import TrustKeeper
from edge_agent.install.deployment import Deployment
from edge_agent.tasks import TaskDone
from neo.contract.device import Capabilities
from neo.contract.fields import ContractError
from neo.contract.messages import DeviceState, Presence, RollCall
from neo.contract.topics import Topics
from neo.errors import NeoError, QueueFull
from neo.link import Connected, Disconnected, Message
from neo.supervision import ThreadDied

logger = logging.getLogger(__name__)

SUBSCRIBED = ("assignment", "chunk", "roll-call", "presence")
IDLE_TICK_S = 0.5
BUSY_TICK_S = 0.1
PROGRESS_S = 0.5
MAX_ERROR_TEXT = 4000


@dataclass(frozen=True, slots=True)
class Clock:
    """monotonic, unix: seconds."""

    monotonic: Callable[[], float] = time.monotonic
    unix: Callable[[], float] = time.time


class Publisher(Protocol):
    """What the agent needs of ``neo.link.Link``."""

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1) -> None: ...


@dataclass(frozen=True, slots=True)
class Identity:
    """session: new for every start. url: where this device serves predictions."""

    device_id: str
    session: str
    topics: Topics
    url: str

    def topic(self, leaf: str) -> str:
        return self.topics.device(self.device_id, leaf)


class Agent:
    """run() until Stop comes into the inbox. Raises DeviceIdInUse if another agent has the device id, and NeoError if
    a thread of the program died.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        link: Publisher,
        inbox: queue.SimpleQueue[AgentEvent],
        deployment: Deployment,
        capabilities: Callable[[], Capabilities],
        reporter: Reporter,
        trust: TrustKeeper | None = None,
        clock: Clock = Clock(),
    ) -> None:
        self._identity = identity
        self._link = link
        self._inbox = inbox
        self._deployment = deployment
        self._capabilities = capabilities
        self._reporter = reporter
        self._trust = trust
        self._clock = clock
        self._presence = PresenceKeeper(identity.device_id, identity.session, clock.unix, had_id=deployment.had_model)
        self._connected = False
        self._reported: DeviceState | None = None
        self._reported_at = 0.0
        self._unsent = 0  # messages since the link had room for one

    def run(self) -> None:
        self._deployment.boot(self._clock.monotonic())
        try:
            while True:
                try:
                    event = self._inbox.get(timeout=BUSY_TICK_S if self._deployment.is_under_way else IDLE_TICK_S)
                except queue.Empty:
                    event = None
                if isinstance(event, Stop):
                    logger.info("stopping: %s", event.reason)
                    break
                self._handle(event, self._clock.monotonic())
        finally:
            if self._presence.announced:
                self._send(self._presence.offline())
            self._deployment.close()

    def _handle(self, event: AgentEvent | None, now: float) -> None:
        if isinstance(event, Message):
            self._on_message(event, now)
        elif isinstance(event, TaskDone):
            event.on_done(event.result, event.error)
        elif isinstance(event, WorkerExited):
            self._deployment.worker_exited(event.worker, now)
        elif isinstance(event, Connected):
            self._connected = True
            self._send_all(self._presence.connected(now))
            self._deployment.reconnected(now)
        elif isinstance(event, Disconnected):
            logger.warning("no connection to the broker: %s", event.reason)
            self._connected = False
            self._presence.disconnected()
        elif isinstance(event, ThreadDied):
            raise NeoError(
                f"thread {event.name} died of {type(event.error).__name__}: {event.error}",
                hint="this is a mistake in the agent: report it with its log; it is safe to start it again",
            ) from event.error
        self._tick(now)

    def _tick(self, now: float) -> None:
        was_announced = self._presence.announced
        self._send_all(self._presence.tick(now))
        if self._presence.announced and not was_announced:
            logger.info("announced as device %s", self._identity.device_id)
            self._publish("capabilities", self._capabilities().to_bytes(), retain=True)
            self._reported = None
        is_settling = False
        if self._trust is not None:
            self._trust.tick(now)
            is_settling = self._trust.is_settling(now)
        self._deployment.tick(now, connected=self._connected, may_change=self._presence.announced and not is_settling)
        self._report()

    def _on_message(self, message: Message, now: float) -> None:
        topics = self._identity.topics
        if topics.is_blob(message.topic) or message.topic == topics.chunk(self._identity.device_id):
            self._deployment.take_chunk(message.payload, now)
            return
        leaf = topics.tuf_of(message.topic)
        if leaf is not None and self._trust is not None:
            self._trust.take(leaf, message.payload, now)
            return
        addressed = topics.device_of(message.topic)
        if addressed is None or addressed[0] != self._identity.device_id:
            return
        leaf = addressed[1]
        try:
            if leaf == "assignment":
                self._deployment.assign(message.payload)
            elif leaf == "chunk":
                self._deployment.take_chunk(message.payload, now)
            elif leaf == "roll-call" and not message.retained:  # a retained one would keep the id in use for ever
                self._send_all(self._presence.heard_roll_call(RollCall.from_bytes(message.payload), now))
            elif leaf == "presence" and message.payload:
                self._send_all(self._presence.heard_presence(Presence.from_bytes(message.payload)))
        except ContractError as error:
            logger.warning("ignored a message on %s: %s", message.topic, error)

    def _report(self) -> None:
        """Publish the state if it changed, unsigned and signed; mere progress not more than twice a second."""
        if not self._presence.announced or not self._deployment.is_booted:
            return
        now, state = self._clock.monotonic(), self._state()
        old = self._reported
        if old is not None:
            if replace(state, at=old.at) == old:
                return
            progress_only = replace(state, at=old.at, done_bytes=old.done_bytes) == old
            if progress_only and now - self._reported_at < PROGRESS_S:
                return
        if self._publish("state", state.to_bytes(), retain=True) and self._publish_signed(state, now):
            self._reported, self._reported_at = state, now

    def _publish_signed(self, state: DeviceState, now: float) -> bool:
        retry_at = self._deployment.retry_at
        report = self._reporter.sign(state, None if retry_at is None else state.at + max(retry_at - now, 0.0))
        topic = self._identity.topics.signed(self._identity.device_id, "report")
        return report is None or self._publish_to(topic, report, retain=True)

    def _state(self) -> DeviceState:
        state = self._deployment.state
        done, total = state.progress
        return DeviceState(
            session=self._identity.session,
            phase=state.phase.value,
            assignment=state.assignment,
            live=state.live,
            done_bytes=done,
            total_bytes=total,
            error=None if state.error is None else _bounded(state.error).to_json(),
            url=self._identity.url,
            at=self._clock.unix(),
            trust="" if self._trust is None else self._trust.doubt,
        )

    def _send_all(self, messages: list[Outgoing]) -> None:
        for message in messages:
            self._send(message)

    def _send(self, message: Outgoing) -> None:
        self._publish(message.leaf, message.payload, retain=message.retain)

    def _publish(self, leaf: str, payload: bytes, *, retain: bool) -> bool:
        return self._publish_to(self._identity.topic(leaf), payload, retain=retain)

    def _publish_to(self, topic: str, payload: bytes, *, retain: bool) -> bool:
        """False if the link has no room for it; a state is then said again with the next tick."""
        try:
            self._link.publish(topic, payload, retain=retain, qos=1)
        except QueueFull as error:
            if not self._unsent:
                logger.warning("the broker takes no messages: %s", error.message)
            self._unsent += 1
            return False
        if self._unsent:
            logger.warning("the broker takes messages again; %d were not sent", self._unsent)
            self._unsent = 0
        return True


def _bounded(error: NeoError) -> NeoError:
    """A library's message can be longer than a broker takes."""
    if len(error.message) + len(str(error.details)) <= MAX_ERROR_TEXT:
        return error
    return NeoError.from_json({**error.to_json(), "message": error.message[:MAX_ERROR_TEXT], "details": {}})

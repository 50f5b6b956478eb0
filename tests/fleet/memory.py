"""A broker in memory with any number of devices: no threads, no sockets, and a clock that the broker itself moves."""

from __future__ import annotations

import collections
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from securesystemslib.signer import CryptoSigner

from neo.contract.messages import Assignment, Chunk, DeviceState, Live, Presence, Want
from neo.contract.topics import Topics
from neo.fleet.brokers import VERSION_TOPIC
from neo.fleet.clock import Clock
from neo.link import Connected, Event, Message, SubscriptionRefused
from neo.store.bundles import parse_image
from neo.trust.documents import sign_report
from tests.fleet.devices import make_capabilities, make_report

TOPICS = Topics()
WHOLE = "neo-edge broker of the tests"


def matches(topic: str, pattern: str) -> bool:
    levels, wanted = topic.split("/"), pattern.split("/")
    return len(levels) == len(wanted) and all(one in ("+", level) for level, one in zip(levels, wanted, strict=True))


@dataclass
class MemoryDevice:
    """Fetches what it is assigned in one want for each blob, then says what ``verdict`` gives (None: active)."""

    broker: MemoryBroker
    device: str
    verdict: dict | None = None
    is_deaf: bool = False
    #: None: says nothing signed, as agents before
    signer: CryptoSigner | None = None
    #: with its failures: it tries again by itself
    retry_at: float | None = None
    sequence: int = 0
    fetched: dict[str, bytearray] = field(default_factory=dict)
    _assignment: Assignment | None = None
    _missing: dict[str, int] = field(default_factory=dict)

    def start(self) -> None:
        self.broker.publish(self._topic("capabilities"), make_capabilities(self.device).to_bytes(), retain=True)
        self.broker.publish(self._topic("presence"), Presence(True, "s", 5.0).to_bytes(), retain=True)
        self._say("idle")

    def take(self, leaf: str, payload: bytes) -> None:
        if self.is_deaf:
            return
        if leaf == "assignment":
            self._assignment, self.fetched = Assignment.from_bytes(payload), {}
            self._say("fetching")
            self._want(self._assignment.manifest.digest, self._assignment.manifest.size)
        elif leaf == "chunk":
            self._take_chunk(Chunk.from_bytes(payload))

    def _take_chunk(self, chunk: Chunk) -> None:
        assert self._assignment is not None
        data = self.fetched.setdefault(chunk.digest, bytearray())
        assert not chunk.absent
        assert chunk.offset == len(data)
        data += chunk.data
        if len(data) < self._missing[chunk.digest]:
            return
        del self._missing[chunk.digest]
        if chunk.digest == self._assignment.manifest.digest:
            image = parse_image(bytes(data))
            for blob in (self._assignment.signature, image.config, *image.layers):
                self._want(blob.digest, blob.size)
        elif not self._missing:
            self._say("active" if self.verdict is None else "failed")

    def _want(self, digest: str, size: int) -> None:
        assert self._assignment is not None
        self._missing[digest] = size
        self.broker.publish(
            TOPICS.source(self._assignment.source, "want"), Want(self.device, digest, 0, size).to_bytes()
        )

    def _say(self, phase: str) -> None:
        assignment = self._assignment
        done = sum(map(len, self.fetched.values()))
        live = None
        if phase == "active" and assignment is not None:
            live = Live(assignment.manifest.digest, assignment.reference, "tvm", 6.0)
        identity = "" if assignment is None else assignment.id
        error = self.verdict if phase == "failed" else None
        state = DeviceState("s", phase, identity, live, done, done, error, "", 6.0)
        self.broker.publish(self._topic("state"), state.to_bytes(), retain=True)
        if self.signer is not None:
            self.sequence += 1
            report = make_report(self.device, state, self.sequence, retry_at=self.retry_at)
            self.broker.publish(TOPICS.signed(self.device, "report"), sign_report(report, self.signer), retain=True)

    def _topic(self, leaf: str) -> str:
        return TOPICS.device(self.device, leaf)


class MemoryBroker:
    """A ``Transport``. version: what it says it is; "" for nothing, None for "you may not ask".

    per_second: how many messages a client gets in one second, None for any number. overtakes: what is published comes
    before what is retained, as on some brokers. cut_at: what is retained beyond that many messages is dropped.
    returns_markers: publishes reach clients at all. drops_markers: how many of the first ones with a payload are lost.
    rules: of a topic, whether it may be written; what may not is taken and dropped.
    """

    def __init__(
        self,
        *,
        version: str | None = WHOLE,
        overtakes: bool = False,
        cut_at: int | None = None,
        per_second: int | None = None,
        returns_markers: bool = True,
        drops_markers: int = 0,
        rules: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self.retained: dict[str, bytes] = {} if not version else {VERSION_TOPIC: version.encode()}
        self.devices: dict[str, MemoryDevice] = {}
        self.published: collections.Counter[str] = collections.Counter()
        self.now = 1000.0
        self.clock = Clock(lambda: self.now, lambda: self.now)
        self.overtakes, self.cut_at, self.per_second = overtakes, cut_at, per_second
        self._returns_markers, self._drops_markers, self._rules = returns_markers, drops_markers, rules
        self.reports: Callable[[], dict[str, bytes]] = dict
        self._may_ask = version is not None
        self._connections: list[_MemoryConnection] = []
        self._ids = itertools.count()
        self._rng = random.Random(7)

    def new_id(self) -> str:
        return f"id{next(self._ids)}"

    def add_devices(self, count: int, *, sign: bool = False) -> None:
        for number in range(count):
            name = f"dev-{number:05}"
            self.devices[name] = MemoryDevice(self, name, signer=CryptoSigner.generate_ed25519() if sign else None)
            self.devices[name].start()

    def connect(self, _purpose: str, *, watched: Sequence[str], subscriptions: Sequence[str] = ()) -> _MemoryConnection:
        filters = [*watched, *subscriptions]
        if not self._may_ask and VERSION_TOPIC in filters:
            raise SubscriptionRefused("closed the connection")
        connection = _MemoryConnection(self, filters)
        self._connections.append(connection)
        kept = [(topic, payload) for topic, payload in self.retained.items() if connection.wants(topic)]
        self._rng.shuffle(kept)
        burst = [Message(topic, payload, retained=True) for topic, payload in kept[: self.cut_at]]
        if self.overtakes:
            connection.late.extend(burst)
            connection.inbox.append(Connected())
        else:
            connection.inbox.extend([Connected(), *burst])
        return connection

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self.published[topic.rsplit("/", 1)[1]] += 1
        if not self._rules(topic):
            return
        if retain:
            self.retained[topic] = payload
        if topic.endswith("/marker") and not self._returns_markers:
            return
        if topic.endswith("/marker") and payload and self._drops_markers:
            self._drops_markers -= 1
            return
        for connection in self._connections:
            if connection.wants(topic):
                connection.inbox.append(Message(topic, payload, retained=False))
        place = TOPICS.device_of(topic)
        if place is not None and place[1] in ("assignment", "chunk") and place[0] in self.devices:
            self.devices[place[0]].take(place[1], payload)

    def report(self) -> None:
        """As mosquitto does every ten seconds."""
        for topic, payload in self.reports().items():
            self.publish(topic, payload, retain=True)

    def close(self, connection: _MemoryConnection) -> None:
        self._connections.remove(connection)


class _MemoryConnection:
    backlog = 0

    def __init__(self, broker: MemoryBroker, filters: Sequence[str]) -> None:
        self._broker = broker
        self._exact = {pattern for pattern in filters if "+" not in pattern}
        self._patterns = [pattern for pattern in filters if "+" in pattern]
        self.inbox: collections.deque[Event] = collections.deque()
        self.late: collections.deque[Event] = collections.deque()
        self._taken = 0  # in this second

    def wants(self, topic: str) -> bool:
        return topic in self._exact or any(matches(topic, pattern) for pattern in self._patterns)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1) -> None:
        assert qos in (0, 1)
        self._broker.publish(topic, payload, retain=retain)

    def next_event(self, timeout_s: float) -> Event | None:
        if not self.inbox and self.late:
            self.inbox, self.late = self.late, self.inbox
        if self.inbox and self._taken != self._broker.per_second:
            self._taken += 1
            return self.inbox.popleft()
        self._taken = 0
        self._broker.now += 1.0 if self.inbox else timeout_s
        if not self.inbox:
            self._broker.report()
        return None

    def close(self) -> None:
        self._broker.close(self)

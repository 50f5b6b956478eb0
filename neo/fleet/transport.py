"""What the fleet's code needs of a way to exchange messages. A broker stands behind it; in tests, devices in memory."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from typing import Protocol

from neo.fleet.clock import NewId
from neo.link import SYSTEM_TLS, BrokerUrl, Event, Link, Tls

CONNECT_S = 10.0


class Publisher(Protocol):
    """Where messages go."""

    @property
    def backlog(self) -> int:
        """How many published messages are not delivered yet: the measure for slowing down."""

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1) -> None:
        """Never blocks."""


class Connection(Publisher, Protocol):
    """One client's connection. It heals itself: after ``Connected`` what is retained comes again."""

    def next_event(self, timeout_s: float) -> Event | None:
        """What arrived next; None after timeout_s without anything."""

    def close(self) -> None:
        """Deliver what was published, and go."""


class Transport(Protocol):
    def connect(self, purpose: str, *, watched: Sequence[str], subscriptions: Sequence[str] = ()) -> Connection:
        """purpose: a word for the client's id. watched: topic filters at QoS 0; subscriptions: at QoS 1.

        Raises BrokerError; SubscriptionRefused if it was admitted but may not read a topic.
        """


class MqttTransport:
    """An MQTT broker."""

    def __init__(self, url: BrokerUrl, tls: Tls, new_id: NewId) -> None:
        self._url = url
        self._tls = tls
        self._new_id = new_id

    def connect(self, purpose: str, *, watched: Sequence[str], subscriptions: Sequence[str] = ()) -> Connection:
        connection = _MqttConnection(
            self._url, f"neo-{purpose}-{self._new_id()}", tls=self._tls, watched=watched, subscriptions=subscriptions
        )
        connection.open()
        return connection


class _MqttConnection:
    def __init__(
        self,
        url: BrokerUrl,
        client_id: str,
        *,
        tls: Tls = SYSTEM_TLS,
        watched: Sequence[str],
        subscriptions: Sequence[str],
    ) -> None:
        self._inbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._link = Link(
            url, client_id=client_id, subscriptions=subscriptions, watched=watched, inbox=self._inbox, tls=tls
        )

    def open(self) -> None:
        self._link.connect(CONNECT_S)

    @property
    def backlog(self) -> int:
        return self._link.backlog

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1) -> None:
        self._link.publish(topic, payload, retain=retain, qos=qos)

    def next_event(self, timeout_s: float) -> Event | None:
        try:
            return self._inbox.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def close(self) -> None:
        self._link.stop()

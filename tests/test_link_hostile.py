"""The link against a broker that means harm: what it can make us hold in memory is bounded."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from neo.errors import BrokerError
from neo.link import MAX_PACKET_BYTES, MAX_UNREAD, BrokerUrl, Connected, Disconnected, Event, Link, Message

CONNACK = b"\x20\x02\x00\x00"
WAIT_S = 10.0


def publish(payload: bytes, *, qos: int = 0, length: int | None = None) -> bytes:
    """A PUBLISH on topic 'a'. length: what the header claims, if it is not what follows."""
    body = b"\x00\x01a" + (b"\x00\x07" if qos else b"") + payload
    rest = len(body) if length is None else length
    digits = []
    while True:
        rest, digit = divmod(rest, 128)
        digits.append(digit | (0x80 if rest else 0))
        if not rest:
            return bytes([0x30 | qos << 1, *digits]) + body


@contextlib.contextmanager
def hostile_broker(attack: Callable[[socket.socket], None]) -> Iterator[BrokerUrl]:
    """Lets every client in, grants its one subscription, then attacks."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with client, contextlib.suppress(OSError):
                        client.recv(4096)
                        client.sendall(CONNACK)
                        subscribe = client.recv(4096)
                        client.sendall(b"\x90\x03" + subscribe[2:4] + b"\x01")
                        attack(client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield BrokerUrl("127.0.0.1", server.getsockname()[1])


@contextlib.contextmanager
def linked(url: BrokerUrl) -> Iterator[tuple[Link, queue.SimpleQueue[Event]]]:
    inbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
    link = Link(url, client_id="victim", subscriptions=["a"], inbox=inbox)
    link.connect(WAIT_S)
    try:
        yield link, inbox
    finally:
        link.stop()


def disconnection(inbox: queue.SimpleQueue[Event]) -> str:
    while True:
        event = inbox.get(timeout=WAIT_S)
        if isinstance(event, Disconnected):
            return event.reason


def test_a_packet_of_a_hundred_megabytes_is_given_up_before_it_is_read() -> None:
    def attack(client: socket.socket) -> None:
        client.sendall(publish(b"", length=100_000_000))
        client.recv(1)

    with hostile_broker(attack) as url, linked(url) as (_, inbox):
        assert f"100000000 bytes; at most {MAX_PACKET_BYTES}" in disconnection(inbox)


def test_messages_that_wait_for_a_release_are_not_collected() -> None:
    def attack(client: socket.socket) -> None:
        client.sendall(publish(b"x" * 1000, qos=2))
        client.recv(1)

    with hostile_broker(attack) as url, linked(url) as (_, inbox):
        assert "QoS 2" in disconnection(inbox)


def test_a_flood_waits_outside_until_the_inbox_is_read_and_nothing_is_lost() -> None:
    count = 20 * MAX_UNREAD

    def attack(client: socket.socket) -> None:
        for number in range(count):
            client.sendall(publish(b"%d" % number))
        client.recv(1)

    with hostile_broker(attack) as url, linked(url) as (_, inbox):
        deadline = time.monotonic() + WAIT_S
        while inbox.qsize() < MAX_UNREAD and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3)
        assert inbox.qsize() <= MAX_UNREAD + 1
        events = [inbox.get(timeout=WAIT_S) for _ in range(count + 1)]
        assert isinstance(events[0], Connected)
        assert [int(event.payload) for event in events[1:] if isinstance(event, Message)] == list(range(count))


@pytest.mark.timeout(20)
def test_stopping_does_not_wait_for_an_inbox_that_nobody_reads() -> None:
    def attack(client: socket.socket) -> None:
        while True:
            client.sendall(publish(b"x" * 10_000))

    with hostile_broker(attack) as url, linked(url) as (link, inbox):
        while inbox.qsize() < MAX_UNREAD:
            time.sleep(0.01)
        link.publish("b", b"queued", qos=1)
        begun = time.monotonic()
        link.stop()
        assert time.monotonic() - begun < WAIT_S


def test_messages_before_the_acknowledgement_of_the_subscription_do_not_keep_it_from_being_read() -> None:
    count = 4 * MAX_UNREAD
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client, contextlib.suppress(OSError):
                client.recv(4096)
                client.sendall(CONNACK)
                subscribe = client.recv(4096)
                for number in range(count):
                    client.sendall(publish(b"%d" % number))
                client.sendall(b"\x90\x03" + subscribe[2:4] + b"\x01")
                client.recv(4096)

        thread = threading.Thread(target=serve)
        thread.start()
        with linked(BrokerUrl("127.0.0.1", server.getsockname()[1])) as (_, inbox):
            events = [inbox.get(timeout=WAIT_S) for _ in range(count + 1)]
        thread.join()
    assert isinstance(events[-1], Connected)
    assert [int(event.payload) for event in events[:-1] if isinstance(event, Message)] == list(range(count))


def test_what_comes_before_the_acknowledgement_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neo.link.MAX_EARLY_BYTES", 1_000_000)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client, contextlib.suppress(OSError):
                client.recv(4096)
                client.sendall(CONNACK)
                client.recv(4096)
                while True:
                    client.sendall(publish(b"x" * 10_000))

        thread = threading.Thread(target=serve)
        thread.start()
        inbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
        link = Link(
            BrokerUrl("127.0.0.1", server.getsockname()[1]), client_id="victim", subscriptions=["a"], inbox=inbox
        )
        with pytest.raises(BrokerError, match="no answer"):
            link.connect(1)
        thread.join()
    assert inbox.qsize() <= MAX_UNREAD + 102  # and the one that stop() lets through

"""The link against real brokers, and against servers that are none."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from neo.errors import BrokerError, UsageError
from neo.link import MAX_PAYLOAD_BYTES, BrokerUrl, Connected, Disconnected, Event, Link, Message, Tls
from tests.brokers import BROKERS, RunningBroker, embedded_broker, free_port

Inbox = queue.SimpleQueue[Event]
WAIT_S = 10.0


@pytest.fixture(params=sorted(BROKERS))
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningBroker]:
    with BROKERS[request.param](tmp_path / "broker") as running:
        yield running


@contextlib.contextmanager
def linked(url: BrokerUrl, *subscriptions: str, name: str = "test", **options) -> Iterator[tuple[Link, Inbox]]:
    inbox: Inbox = queue.SimpleQueue()
    link = Link(url, client_id=name, subscriptions=subscriptions, inbox=inbox, **options)
    link.connect(WAIT_S)
    try:
        yield link, inbox
    finally:
        link.stop()


def next_event(inbox: Inbox, kind: type, timeout_s: float = WAIT_S):
    deadline = time.monotonic() + timeout_s
    while True:
        event = inbox.get(timeout=max(deadline - time.monotonic(), 0.001))
        if isinstance(event, kind):
            return event


def messages(inbox: Inbox, quiet_s: float = 0.4) -> list[Message]:
    found = []
    with contextlib.suppress(queue.Empty):
        while True:
            event = inbox.get(timeout=quiet_s)
            if isinstance(event, Message):
                found.append(event)
    return found


def test_what_is_published_arrives_in_order_at_both_qualities_of_service(broker):
    with linked(broker.url, "a/#", name="reader") as (_, inbox), linked(broker.url, name="writer") as (writer, _):
        for number in range(100):
            writer.publish(f"a/{number}", b"x" * 98_349, qos=0)
        writer.publish("a/last", b"", qos=1)
        topics = [message.topic for message in messages(inbox, 2)]
        assert topics == [*(f"a/{number}" for number in range(100)), "a/last"]


def test_retained_messages_survive_a_power_cut_of_the_broker(broker):
    with linked(broker.url, name="writer") as (writer, _):
        for number in range(5):
            writer.publish(f"kept/{number}", b"%d" % number, retain=True)
        writer.publish("kept/0", b"", retain=True)
    time.sleep(2.5)  # mosquitto writes its file once a second
    broker.kill()
    broker.restart()
    with linked(broker.url, "kept/#") as (_, inbox):
        found = messages(inbox)
        assert {message.topic: message.payload for message in found} == {f"kept/{n}": b"%d" % n for n in range(1, 5)}
        assert all(message.retained for message in found)


def test_a_link_comes_back_after_the_broker_was_killed_and_delivers_what_was_queued(broker):
    with linked(broker.url, "a", name="reader") as (link, inbox):
        next_event(inbox, Connected)
        broker.kill()
        next_event(inbox, Disconnected)
        assert not link.connected
        link.publish("a", b"dropped", qos=0)
        link.publish("a", b"queued", qos=1)
        broker.restart()
        next_event(inbox, Connected, 20)
        assert next_event(inbox, Message).payload == b"queued"


def test_the_will_fires_when_a_client_dies_but_not_when_it_says_goodbye(broker):
    with linked(broker.url, "will") as (_, inbox):
        with linked(broker.url, name="polite", will=("will", b"polite")):
            pass
        assert messages(inbox) == []
        with linked(broker.url, name="dying", will=("will", b"dying")) as (dying, _):
            dying._stopping.set()
            sock = dying._client.socket()
            assert sock is not None
            sock.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]
            assert next_event(inbox, Message).payload == b"dying"


def test_stop_sends_what_was_published_just_before(broker):
    with linked(broker.url, "burst/#", name="reader") as (_, inbox):
        with linked(broker.url, name="writer") as (writer, _):
            for number in range(200):
                writer.publish(f"burst/{number}", b"x", qos=1)
        assert len(messages(inbox, 1)) == 200


def test_a_link_started_before_its_broker_connects_when_the_broker_is_there(tmp_path):
    inbox: Inbox = queue.SimpleQueue()
    port = free_port()
    link = Link(BrokerUrl("127.0.0.1", port), client_id="early", subscriptions=["a"], inbox=inbox)
    link.start()
    try:
        assert "no broker listens" in next_event(inbox, Disconnected).reason
        with embedded_broker(tmp_path / "data", options=["--port", str(port)]):
            next_event(inbox, Connected, 20)
    finally:
        link.stop()


def test_a_payload_larger_than_the_limit_is_dropped(broker):
    with linked(broker.url, "a") as (link, inbox):
        link.publish("a", bytes(MAX_PAYLOAD_BYTES + 1))
        link.publish("a", b"small")
        assert [message.payload for message in messages(inbox)] == [b"small"]


def test_a_mistake_in_the_network_thread_is_told_and_the_link_comes_back(broker, monkeypatch, caplog):
    with linked(broker.url, "a") as (link, inbox):
        next_event(inbox, Connected)

        def fail(_code: object) -> BrokerError:
            monkeypatch.undo()
            raise KeyError("a mistake of ours")

        monkeypatch.setattr(link, "_ending", fail)
        sock = link._client.socket()
        assert sock is not None
        sock.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]
        assert "a mistake of ours" in next_event(inbox, Disconnected).reason
        next_event(inbox, Connected, 20)
        assert "link-test failed" in caplog.text


def test_a_filter_at_qos_0_gets_what_is_published_at_qos_1(broker):
    with linked(broker.url, watched=["a"]) as (link, inbox):
        link.publish("a", b"x", qos=1)
        assert next_event(inbox, Message).payload == b"x"


def test_no_broker_says_how_to_start_one():
    url = BrokerUrl("127.0.0.1", free_port())
    with pytest.raises(BrokerError, match="no broker listens") as caught, linked(url):
        pass
    assert "neo broker" in caught.value.hint


def test_an_unknown_host_is_named():
    with (
        pytest.raises(BrokerError, match=r"unknown host 'nowhere\.invalid'"),
        linked(BrokerUrl("nowhere.invalid", 1883)),
    ):
        pass


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "closed the connection|does not speak MQTT"),
        (b"", "closed the connection"),
        (b"\x20\x02\x00\x05", "does not let a client without user and password in"),
        (b"\x20\x02\x00\x03", "refuses the connection"),
        (b"\x20\x00", "closed the connection|does not speak MQTT"),
        (b"\x20\x02\x00\x00\x90\x03\x00\x01\x80", "refuses the subscription to a"),
        (b"\x20\x02\x00\x00", "closed the connection when it was asked for a"),
        (b"\x20\x02\x00\x00\x30\x00", "closed the connection|does not speak MQTT"),
    ],
)
def test_a_server_that_is_no_broker_or_refuses_is_reported(answer, found):
    with answering(answer) as port, pytest.raises(BrokerError, match=found), linked(BrokerUrl("127.0.0.1", port), "a"):
        pass


def test_a_server_that_says_nothing_is_a_timeout():
    inbox: Inbox = queue.SimpleQueue()
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = Link(BrokerUrl("127.0.0.1", server.getsockname()[1]), client_id="x", subscriptions=[], inbox=inbox)
        with pytest.raises(BrokerError, match="no answer from the broker"):
            link.connect(0.5)
    assert not link._thread.is_alive()


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=64))
def test_no_answer_of_a_broker_kills_the_network_thread(answer):
    inbox: Inbox = queue.SimpleQueue()
    with answering(b"\x20\x02\x00\x00" + answer) as port:
        link = Link(BrokerUrl("127.0.0.1", port), client_id="x", subscriptions=[], inbox=inbox)
        link.start()
        try:
            next_event(inbox, Disconnected)
            assert link._thread.is_alive()
        finally:
            link.stop()


def test_tls_works_with_the_authority_and_not_without(tmp_path):
    cert, key = self_signed(tmp_path, "localhost")
    with embedded_broker(tmp_path / "data", options=["--tls-cert", str(cert), "--tls-key", str(key)]) as running:
        url = BrokerUrl("localhost", running.url.port, tls=True)
        with linked(url, "a", tls=Tls(ca=cert)) as (link, inbox):
            link.publish("a", b"secret")
            assert next_event(inbox, Message).payload == b"secret"
        with pytest.raises(BrokerError, match="is not trusted") as caught, linked(url):
            pass
        assert "--tls-ca" in caught.value.hint
        with (
            pytest.raises(BrokerError, match="is not trusted"),
            linked(BrokerUrl("127.0.0.1", url.port, tls=True), tls=Tls(ca=cert)),
        ):
            pass
        with (
            pytest.raises(BrokerError, match="closed the connection") as plain,
            linked(BrokerUrl("localhost", url.port)),
        ):
            pass
        assert "mqtts://" in plain.value.hint


def test_a_tls_file_that_is_none_is_named(tmp_path):
    (tmp_path / "ca.pem").write_text("nonsense")
    for ca in (tmp_path / "ca.pem", tmp_path / "absent.pem"):
        with pytest.raises(UsageError, match=ca.name):
            Link(
                BrokerUrl("h", 1, tls=True), client_id="x", subscriptions=[], inbox=queue.SimpleQueue(), tls=Tls(ca=ca)
            )


_names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


@given(st.from_regex(r"[a-z][a-z0-9.-]{0,20}[a-z0-9]", fullmatch=True), st.integers(1, 65535), st.booleans(), _names)
def test_a_url_is_read_as_it_is_written(host, port, tls, user):
    url = BrokerUrl(host, port, tls, user)
    assert BrokerUrl.parse(str(url)) == url


@given(st.text(max_size=60) | st.text(max_size=40).map("mqtt://".__add__))
def test_any_text_is_a_url_or_a_usage_error(text):
    with contextlib.suppress(UsageError):
        url = BrokerUrl.parse(text)
        assert url.host
        assert 0 < url.port < 65536


@pytest.mark.parametrize(
    "text", ["mqtt://u:geheim@h:99999", "tcp://u:geheim@h", "mqtt://u:geheim@h/path", "mqtt://u:geheim@"]
)
def test_a_password_is_shown_nowhere(text):
    with pytest.raises(UsageError) as caught:
        BrokerUrl.parse(text)
    assert "geheim" not in caught.value.message
    url = BrokerUrl.parse("mqtt://u:geheim@h")
    assert url.password == "geheim"  # noqa: S105
    assert "geheim" not in f"{url}{url!r}"


def test_default_ports():
    assert (BrokerUrl.parse("mqtt://h").port, BrokerUrl.parse("mqtts://h").port) == (1883, 8883)
    assert BrokerUrl.parse("mqtt://[::1]:7") == BrokerUrl("::1", 7)


@contextlib.contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """A TCP server that reads something, sends answer, and closes; -> port."""
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(0.1)
    stopping = threading.Event()

    def serve() -> None:
        while not stopping.is_set():
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(1)
                    connection.recv(4096)
                    connection.sendall(answer)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(4096):
                        pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield int(server.getsockname()[1])
    finally:
        stopping.set()
        thread.join()
        server.close()


def self_signed(folder: Path, host: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = folder / "cert.pem", folder / "key.pem"
    cert_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_path, key_path

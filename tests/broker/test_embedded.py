"""The embedded broker: what clients may rely on, and what it says when it cannot start."""

from __future__ import annotations

import asyncio
import queue
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from neo.broker.embedded import EmbeddedBroker
from neo.broker.passwords import add_user, read_passwords
from neo.broker.run import Settings, running_broker
from neo.cli.__main__ import main
from neo.errors import BrokerError, StoreError, UsageError
from neo.link import BrokerUrl, Connected, Disconnected, Link, Message
from tests.brokers import ROOT, embedded_broker, embedded_command, free_port
from tests.test_link import linked, messages, next_event


@pytest.fixture
def broker(tmp_path: Path):
    with running_broker(Settings("127.0.0.1", 0, tmp_path / "data")) as listening:
        yield BrokerUrl("127.0.0.1", listening.port)


def test_a_new_client_gets_retained_messages_of_its_own_subscriptions_only(broker):
    with linked(broker, "others/#", name="other") as (other, _):
        other.publish("others/1", b"private", retain=True)
        with linked(broker, "mine/#", name="me") as (_, inbox):
            assert messages(inbox) == []


def test_a_second_client_with_the_same_id_ends_the_first_and_its_will_comes_first(broker):
    with (
        linked(broker, "presence", name="watcher") as (_, watched),
        linked(broker, name="twin", will=("presence", b"gone")),
        linked(broker, name="twin") as (second, _),
    ):
        second.publish("presence", b"here", retain=True)
        assert [message.payload for message in messages(watched)] == [b"gone", b"here"]


def test_a_silent_client_is_declared_dead_after_its_keepalive(tmp_path, monkeypatch):
    monkeypatch.setattr("neo.broker.embedded.GRACE_S", 1)
    with (
        running_broker(Settings("127.0.0.1", 0, tmp_path)) as listening,
        linked(BrokerUrl("127.0.0.1", listening.port), "will", name="watcher") as (_, inbox),
        socket.create_connection(("127.0.0.1", listening.port)) as sock,
    ):
        # CONNECT, clean session with a will (QoS 0), keepalive 1 s, client id "s", will topic "will", message "dead"
        sock.sendall(b"\x10\x19\x00\x04MQTT\x04\x06\x00\x01\x00\x01s\x00\x04will\x00\x04dead")
        assert sock.recv(4) == b"\x20\x02\x00\x00"
        assert next_event(inbox, Message).payload == b"dead"


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n\r\n", b"\x30\x05\x00\x01axx", b""])
def test_a_connection_that_does_not_begin_with_connect_is_closed(broker, monkeypatch, first):
    monkeypatch.setattr("neo.broker.embedded.CONNECT_S", 0.5)
    with socket.create_connection((broker.host, broker.port)) as sock:
        sock.settimeout(5)
        sock.sendall(first)
        assert sock.recv(1) == b""


def test_only_users_of_the_password_file_get_in_and_others_disturb_nobody(tmp_path):
    users = tmp_path / "users"
    add_user(users, "ada", "right horse")
    add_user(users, "bob", "other")
    add_user(users, "ada", "battery")
    assert users.stat().st_mode & 0o777 == 0o600
    settings = Settings("127.0.0.1", 0, tmp_path / "data", password_file=users)
    with running_broker(settings) as listening:
        known = BrokerUrl("127.0.0.1", listening.port, user="ada", password="battery")  # noqa: S106
        with linked(known, "a", name="same") as (link, inbox):
            for user, password in (("ada", "right horse"), ("eve", "battery"), ("", ""), ("neo-broker-itself", "x")):
                url = BrokerUrl("127.0.0.1", listening.port, user=user, password=password)
                with pytest.raises(BrokerError, match="not authorized"), linked(url, name="same"):
                    pass
            link.publish("a", b"still here")
            next_event(inbox, Connected)
            assert [message.payload for message in messages(inbox)] == [b"still here"]


def test_a_line_of_the_password_file_that_is_none_is_named(tmp_path):
    path = tmp_path / "users"
    path.write_text("# comment\n\nada:secret\n")
    with pytest.raises(UsageError, match="line 3"):
        read_passwords(path)
    with pytest.raises(UsageError, match="cannot read"):
        read_passwords(tmp_path / "absent")
    with pytest.raises(UsageError, match="user name"):
        add_user(path, "a:b", "x")


def test_retained_messages_are_there_again_after_a_restart_and_cleared_ones_are_not(tmp_path):
    settings = Settings("127.0.0.1", 0, tmp_path / "data")
    with running_broker(settings) as listening, linked(BrokerUrl("127.0.0.1", listening.port)) as (link, _):
        for number in range(300):
            link.publish(f"t/{number}", bytes([number % 256]), retain=True)
        link.publish("t/7", b"", retain=True)
        link.publish("t/8", b"\xff\x00", retain=True)
    with running_broker(settings) as listening, linked(BrokerUrl("127.0.0.1", listening.port), "t/#") as (_, inbox):
        found = {message.topic: message.payload for message in messages(inbox)}
        assert len(found) == 299
        assert "t/7" not in found
        assert found["t/8"] == b"\xff\x00"


def test_a_taken_port_and_a_taken_folder_are_said(tmp_path, broker):
    with (
        pytest.raises(BrokerError, match=f"port {broker.port} on 127.0.0.1 is taken") as caught,
        running_broker(Settings("127.0.0.1", broker.port, tmp_path / "other")),
    ):
        pass
    assert "--port" in caught.value.hint
    with (
        pytest.raises(StoreError, match="another broker keeps its messages"),
        running_broker(Settings("127.0.0.1", 0, tmp_path / "data")),
    ):
        pass


def test_a_folder_or_address_that_cannot_be_used_is_said(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot write"), running_broker(Settings("127.0.0.1", 0, tmp_path / "file")):
        pass
    with (
        pytest.raises(UsageError, match="no address of this machine"),
        running_broker(Settings("192.0.2.1", 0, tmp_path / "data")),
    ):
        pass
    (tmp_path / "data" / "retained.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match="cannot use"), running_broker(Settings("127.0.0.1", 0, tmp_path / "data")):
        pass
    with (
        pytest.raises(UsageError, match="TLS"),
        running_broker(Settings("127.0.0.1", 0, tmp_path, tls_cert=tmp_path / "file")),
    ):
        pass


def test_a_broker_with_clients_and_idle_connections_stops_at_once_and_with_exit_code_0(tmp_path):
    with embedded_broker(tmp_path) as running, socket.create_connection(("127.0.0.1", running.url.port)):
        inbox: queue.SimpleQueue = queue.SimpleQueue()
        link = Link(running.url, client_id="c", subscriptions=["a"], inbox=inbox)
        link.connect(5)
        started = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - started < 5
        next_event(inbox, Disconnected)
        link.stop()


@pytest.mark.parametrize("ends", ["_broadcast_task", "_session_monitor_task"])
def test_a_broker_that_lost_one_of_its_tasks_stops_and_says_so(tmp_path, monkeypatch, ends):
    brokers = []
    start = EmbeddedBroker.start

    async def keep(self) -> None:
        brokers.append((self, asyncio.get_running_loop()))
        await start(self)

    monkeypatch.setattr(EmbeddedBroker, "start", keep)
    failed = threading.Event()

    def lose_a_task() -> None:
        with (
            running_broker(Settings("127.0.0.1", 0, tmp_path), failed.set) as listening,
            linked(BrokerUrl("127.0.0.1", listening.port), "a") as (_, inbox),
        ):
            ((broker, loop),) = brokers
            loop.call_soon_threadsafe(getattr(broker, ends).cancel)
            assert failed.wait(20)
            next_event(inbox, Disconnected, 20)  # it does not listen on as if nothing were wrong

    with pytest.raises(BrokerError, match=r"the broker failed: its task .* ended"):
        lose_a_task()


def test_the_command_ends_with_an_error_when_its_broker_fails(tmp_path, monkeypatch):
    async def fail(self) -> None:
        await asyncio.sleep(0.2)
        raise KeyError("a mistake")

    monkeypatch.setattr("neo.broker.embedded.EmbeddedBroker._session_monitor", fail, raising=True)
    with pytest.raises(SystemExit) as caught:
        main(["broker", "--port", "0", "--data-dir", str(tmp_path), "--no-serve", "--json"])
    assert caught.value.code == BrokerError.exit_code


def test_a_client_that_breaks_off_while_it_gets_retained_messages_disturbs_nobody(broker, caplog):
    with linked(broker, name="writer") as (writer, _):
        for number in range(200):
            writer.publish(f"t/{number}", bytes(50_000), retain=True)
        with socket.create_connection((broker.host, broker.port)) as sock:
            sock.sendall(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01z" + b"\x82\x08\x00\x01\x00\x03t/#\x01")
            sock.recv(1000)
        with linked(broker, "t/#", name="reader") as (_, inbox):
            # what the writer still sends may come a second time, as a message of its own
            assert len({message.topic for message in messages(inbox, 1)}) == 200


def test_the_command_says_in_one_line_why_it_cannot_start(tmp_path):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        command = embedded_command(port, tmp_path, None)
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == BrokerError.exit_code
    assert f"port {port} on 127.0.0.1 is taken" in done.stderr
    assert "Traceback" not in done.stderr


def test_listening_beyond_this_machine_without_passwords_is_warned_about(tmp_path):
    arguments = ["broker", "--host", "0.0.0.0", "--port", str(free_port()), "--data-dir", str(tmp_path), "--no-serve"]  # noqa: S104
    command = [sys.executable, "-m", "neo.cli.__main__", *arguments]
    child = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    assert "warning" in child.stderr.readline()
    while "broker at" not in child.stderr.readline():
        pass
    child.terminate()
    assert child.wait(20) == 0
    child.stderr.close()

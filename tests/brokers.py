"""Real brokers for tests: each a subprocess on a free port of the loopback interface, stopped by its own handle."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from neo.link import BrokerUrl

ROOT = Path(__file__).parents[1]
START_S = 30.0


@dataclass
class RunningBroker:
    """command: to start it again as it was. ``kill`` is a power cut, ``stop`` the polite way."""

    command: list[str]
    url: BrokerUrl
    environment: dict[str, str] = field(default_factory=dict)
    child: subprocess.Popen[str] | None = None

    def start(self) -> None:
        environment = {**os.environ, **self.environment}
        self.child = subprocess.Popen(
            self.command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        child = self.child
        if child is None:
            return 0
        child.send_signal(number)
        code = child.wait(20)
        if child.stdout is not None:
            child.stdout.close()
        self.child = None
        return code

    def restart(self) -> None:
        """On the same port, with the same data."""
        self.start()
        wait_for_port(self.url.port)


def embedded_command(port: int, data_dir: Path, store: Path | None, *options: str) -> list[str]:
    serve = ["--no-serve"] if store is None else ["--store", str(store)]
    arguments = ["broker", "--port", str(port), "--data-dir", str(data_dir), "--json", *serve, *options]
    return [sys.executable, "-m", "neo.cli.__main__", *arguments]


@contextlib.contextmanager
def embedded_broker(folder: Path, *, store: Path | None = None, options: Sequence[str] = ()) -> Iterator[RunningBroker]:
    """`neo broker` with its data in folder; serves the blobs of the store in that folder if one is given."""
    broker = RunningBroker(embedded_command(0, folder, store, *options), BrokerUrl("127.0.0.1", 0))
    broker.start()
    assert broker.child is not None
    assert broker.child.stdout is not None
    try:
        ready = json.loads(broker.child.stdout.readline())
        broker.url = BrokerUrl("127.0.0.1", ready["port"], tls="--tls-cert" in options)
        broker.command = embedded_command(ready["port"], folder, store, *options)
        yield broker
    finally:
        broker.stop()


@contextlib.contextmanager
def mosquitto(folder: Path, *, lines: Sequence[str] | None = None) -> Iterator[RunningBroker]:
    """lines: of its configuration beside listener and folder; None for those of most tests. Skips the test where
    mosquitto is not installed.
    """
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("mosquitto is not installed: apt-get install mosquitto, or scripts/test-programs")
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "mosquitto.conf"
    if lines is None:
        lines = ["allow_anonymous true", "autosave_on_changes true", "autosave_interval 1", "sys_interval 1"]
    own = [f"listener {port} 127.0.0.1", f"persistence_location {folder}/", f"user {os.environ.get('USER', 'root')}"]
    if not any(line.startswith("persistence ") for line in lines):
        own.append("persistence true")
    configuration.write_text("\n".join([*own, *lines, ""]))
    broker = RunningBroker([program, "-c", str(configuration)], BrokerUrl("127.0.0.1", port))
    broker.start()
    try:
        wait_for_port(port)
        yield broker
    finally:
        broker.stop()


BROKERS = {"embedded": embedded_broker, "mosquitto": mosquitto}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens on port {port} after {START_S} s")

"""Broker and agent as processes of their own, started and stopped by id."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from neo.errors import DeviceError

START_S = 30.0
STOP_S = 10.0
DEVICE_ID = "demo-device"


@dataclass(frozen=True, slots=True)
class Started:
    """process: leads a process group of its own, so that Ctrl-C reaches the demo only, which then stops it."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self) -> None:
        """SIGTERM, and SIGKILL to whoever is left after STOP_S."""
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(name: str, command: list[str], folder: Path) -> Started:
    log = folder / f"{name}.log"
    with log.open("wb") as stderr, (folder / f"{name}.out").open("wb") as stdout:
        arguments = [sys.executable, "-m", *command]
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            # in a folder of its own: `python -m` imports from the current one first
            cwd=folder,
            start_new_session=True,
        )
    return Started(name, process, log)


def start_broker(folder: Path) -> tuple[Started, str]:
    """-> (the process, its URL on a free port of this machine)."""
    command = ["neo.cli", "broker", "--port", "0", "--data-dir", str(folder / "broker"), "--no-serve", "--json"]
    broker = start("broker", command, folder)
    return broker, _url_when_ready(broker, folder / "broker.out")


def start_agent(folder: Path, broker_url: str, public_key: Path) -> tuple[Started, str]:
    """-> (the process, the URL at which it answers predictions)."""
    state = folder / "agent"
    flags = {
        "--broker": broker_url,
        "--device-id": DEVICE_ID,
        "--state-dir": str(state),
        "--trust": str(public_key),
        "--listen": "127.0.0.1:0",
    }
    agent = start("agent", ["edge_agent", *(word for pair in flags.items() for word in pair)], folder)
    return agent, _url_when_ready(agent, state / "agent.json")


def _url_when_ready(started: Started, file: Path) -> str:
    """The url in the JSON that the process writes to file. A process that does not get there is stopped."""
    try:
        return str(json.loads(_wait_for_text(started, file))["url"])
    except BaseException:  # also Ctrl-C must not leave it running
        started.stop()
        raise


def _wait_for_text(started: Started, file: Path) -> str:
    """What the process writes when it is ready. Raises the process's own words if it ends instead."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        if text.strip():
            return text.strip().splitlines()[0]
        if started.process.poll() is not None:
            break
        time.sleep(0.05)
    said = started.log.read_text(encoding="utf-8", errors="replace").strip()[-800:]
    raise DeviceError(f"the {started.name} did not start: {said or 'it said nothing'}", hint="neo doctor")

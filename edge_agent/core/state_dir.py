"""The agent's folder on disk: one agent at a time, and a note of where it listens."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edge_agent.core.device_key import EPOCH_FILE, KEY_FILE
from edge_agent.documents import KEY, SCHEMA
from neo.contract.fields import dump_object
from neo.durable import replace_file, translating_os_errors
from neo.errors import DeviceIdInUse, StoreError

logger = logging.getLogger(__name__)

LOCK_FILE = "lock"
NOTE_FILE = "agent.json"
WRITTEN = (NOTE_FILE, "install.json", "current", "previous", KEY_FILE, EPOCH_FILE)


@contextmanager
def locked(state_dir: Path) -> Iterator[None]:
    """Hold the folder for this process. Raises DeviceIdInUse naming the process that has it."""
    with translating_os_errors(state_dir):
        state_dir.mkdir(parents=True, exist_ok=True)
        lock = (state_dir / LOCK_FILE).open("a+", encoding="utf-8")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            pid = lock.read(20).strip() or "unknown"
            raise DeviceIdInUse(
                f"another agent (process {pid}) runs in {state_dir}",
                hint="stop it first, or give this agent a folder of its own with --state-dir",
            ) from error
        _clear_away_half_written(state_dir)
        with suppress(OSError):  # a full disk; the number is only for the message above
            lock.truncate(0)
            os.write(lock.fileno(), str(os.getpid()).encode())
        yield


def _clear_away_half_written(state_dir: Path) -> None:
    """What ``neo.durable`` was about to rename when the agent was killed."""
    for name in WRITTEN:
        for leftover in state_dir.glob(f".{name}.*"):
            leftover.unlink()


@contextmanager
def noted(state_dir: Path, url: str, device_id: str) -> Iterator[None]:
    """agent.json for as long as the agent runs: its process id, where it answers predictions, and its name."""
    note = state_dir / NOTE_FILE
    try:
        replace_file(note, dump_object({KEY: SCHEMA, "pid": os.getpid(), "url": url, "device_id": device_id}))
    except StoreError as error:
        # a full disk must not keep the device from answering with the model it has
        logger.warning("cannot write %s: %s", note, error)
        note.unlink(missing_ok=True)  # what it says is about an agent that is gone
    try:
        yield
    finally:
        note.unlink(missing_ok=True)

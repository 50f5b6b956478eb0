"""Retained messages in one SQLite file, so that assignments and states outlive the broker."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from neo.durable import translating_os_errors
from neo.errors import DiskFull, StoreError

FILE_NAME = "retained.sqlite"


@dataclass(frozen=True, slots=True)
class Retained:
    payload: bytes
    qos: int


class RetainedFile:
    """folder: made if missing; one broker at a time. Raises StoreError, DiskFull. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._lock = threading.Lock()
        with translating_os_errors(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            self.path.touch()
        try:
            self._db = sqlite3.connect(self.path, timeout=0.5, check_same_thread=False, isolation_level=None)
        except sqlite3.Error as error:
            raise self._translate(error) from error
        try:
            # the lock is kept from the first write on: a second broker on the same file is told so
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("BEGIN EXCLUSIVE")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS retained"
                " (topic TEXT PRIMARY KEY, payload BLOB NOT NULL, qos INTEGER NOT NULL)"
            )
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._db.close()
            raise self._translate(error) from error

    def load(self) -> dict[str, Retained]:
        try:
            with self._lock:
                rows = self._db.execute("SELECT topic, payload, qos FROM retained").fetchall()
        except sqlite3.Error as error:
            raise self._translate(error) from error
        return {topic: Retained(bytes(payload), int(qos)) for topic, payload, qos in rows}

    def write(self, changes: Mapping[str, Retained | None]) -> None:
        """All or none, on the medium when it returns. None: the topic retains nothing any more."""
        gone = [(topic,) for topic, message in changes.items() if message is None]
        kept = [(topic, message.payload, message.qos) for topic, message in changes.items() if message is not None]
        try:
            with self._lock:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    self._db.executemany("DELETE FROM retained WHERE topic = ?", gone)
                    self._db.executemany("INSERT OR REPLACE INTO retained VALUES (?, ?, ?)", kept)
                    self._db.execute("COMMIT")
                except sqlite3.Error:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                    raise
        except sqlite3.Error as error:
            raise self._translate(error) from error

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _translate(self, error: sqlite3.Error) -> StoreError:
        text = str(error)
        if "locked" in text:
            return StoreError(
                f"another broker keeps its messages in {self.path.parent}",
                hint="stop it, or give this one a folder of its own with --data-dir",
            )
        if "full" in text:
            return DiskFull(f"no space left to write {self.path}", hint="free some space; the broker tries again")
        if "readonly" in text or "unable to open" in text:
            return StoreError(f"cannot write {self.path}: {text}", hint="choose a writable folder with --data-dir")
        return StoreError(
            f"cannot use {self.path}: {text}",
            hint="move the file away; agents and pushes publish again what it held when they next connect",
        )

"""A fleet's operator and devices in memory and temporary folders, and what stands between them: an attacker."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

from neo.contract.tuf import TufSet
from neo.trust.tuf.client import TufClient
from neo.trust.tuf.keyfolder import ROLES, KeyFolder
from neo.trust.tuf.repository import Repository
from neo.trust.tuf.trusted import Release

START = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


def no_secret(what: str) -> str:
    raise AssertionError(f"asked for the passphrase of {what}")


def a_release(text: str) -> Release:
    return Release("sha256:" + hashlib.sha256(text.encode()).hexdigest(), len(text))


@dataclass
class Clock:
    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def pass_days(self, days: float) -> None:
        self.now += timedelta(days=days)


@dataclass
class Operator:
    folder: Path
    clock: Clock = field(default_factory=Clock)
    keys_of_root: int = 1
    threshold: int = 1
    repository: Repository = field(init=False)

    def __post_init__(self) -> None:
        keys = KeyFolder.create(self.folder, "default", no_secret)
        for role in ROLES:
            for _ in range(self.keys_of_root if role == "root" else 1):
                keys.make(role, None)
        self.repository = Repository(keys, clock=self.clock)
        self.repository.create({"root": self.threshold})

    def replace(self, role: str) -> None:
        self.repository.replace_key(role, None, self.repository.keys.make(role, None))

    def published(self) -> tuple[bytes, dict[str, bytes]]:
        timestamp, files = self.repository.published()
        return timestamp, dict(TufSet.from_bytes(files.to_bytes()).files)

    def device(self, folder: Path, root: bytes | None = None, clock: Clock | None = None) -> TufClient:
        return TufClient(folder, root or self.repository.root_bytes(), clock=clock or self.clock)

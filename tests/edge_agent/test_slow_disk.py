"""Whatever the disk takes its time for, the loop answers meanwhile. No clock decides: the disk waits for the answer."""

from __future__ import annotations

import os
import queue
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner

import edge_agent.install.slots
from edge_agent.install.slots import Slots
from edge_agent.worker.client import Worker
from neo.contract.messages import RollCall
from neo.store import Ingest, Store
from neo.store.chunked import ChunkedIngest
from tests.edge_agent.rig import Rig
from tests.edge_agent.workers import PASSES

ANSWER_S = 10.0


class SlowDisk:
    """Every slow operation goes on when the agent has answered a roll call that came after it began."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.seen: set[str] = set()
        self.unanswered: list[str] = []
        self.is_slow = False
        self._lock = threading.Lock()

    def slowed(self, name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def slow(*args: Any, **kwargs: Any) -> Any:
            if not self.is_slow:
                return operation(*args, **kwargs)
            with self._lock:
                self.seen.add(name)
                self.rig.send("roll-call", RollCall("somebody", asks=True).to_bytes())
                try:
                    self.rig.roll_calls.get(timeout=ANSWER_S)
                except queue.Empty:
                    self.unanswered.append(name)
            return operation(*args, **kwargs)

        return slow


def test_a_roll_call_is_answered_during_every_sync_hash_and_clean_up_of_a_push(
    tmp_path: Path, signer: CryptoSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, signer, PASSES)
    with rig.running():
        rig.push("1")
        while not rig.roll_calls.empty():
            rig.roll_calls.get()
        disk = SlowDisk(rig)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", disk.slowed("fsync", os.fsync))
            for owner, name in (
                (edge_agent.install.slots, "_digest_of_file"),
                (shutil, "rmtree"),
                (Ingest, "close"),
                (Ingest, "commit"),
                (ChunkedIngest, "close"),
                (ChunkedIngest, "commit"),
                (Slots, "remove_all_but"),
                (Slots, "switch"),
                (Store, "collect_garbage"),
                (Store, "verify"),
                (Worker, "stop"),
            ):
                patch.setattr(owner, name, disk.slowed(name, getattr(owner, name)))
            for version in ("2", "3"):
                disk.is_slow = False  # the operator's side of the test writes to a disk too
                assignment = rig.prepare(version)
                disk.is_slow = True
                rig.send("assignment", assignment.to_bytes())
                assert rig.wait_for_end(assignment).phase == "active"
            wait_until(lambda: len(list((rig.state_dir / "slots").iterdir())) == 2)
            disk.is_slow = False
        assert disk.unanswered == []
        assert disk.seen >= {
            "fsync",
            "_digest_of_file",
            "rmtree",
            "commit",
            "switch",
            "collect_garbage",
            "verify",
            "stop",
        }


def wait_until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)

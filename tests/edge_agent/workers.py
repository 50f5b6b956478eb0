"""Programs that stand in for the worker process."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

from edge_agent.worker.client import Worker, WorkerLimits
from edge_agent.worker.models import Model, Slot
from neo.contract.messages import Assignment
from neo.contract.oci import Descriptor
from tests.edge_agent.devices import make_manifest

PRELUDE = f"""
import os, socket, sys, time
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from edge_agent.worker.frames import receive_frame, send_frame
sock = socket.socket(fileno=int(sys.argv[1]))
"""
READY = 'send_frame(sock, "outputs", {}, {"ready": True})\n'

# passes every self-test
PASSES = """
send_frame(sock, "outputs", {}, {"ready": True})
while True:
    receive_frame(sock, "inputs")
    send_frame(sock, "outputs", {}, {"parity": {}})
"""

LIMITS = WorkerLimits(load_s=20, self_test_s=10, predict_s=10, stop_s=1)
BLOB = Descriptor("a/b", "sha256:" + "1" * 64, 1)


def command_of(program: str, folder: Path) -> tuple[str, ...]:
    """program: Python source; ``sock`` is the socket to the agent."""
    script = folder / "worker.py"
    script.write_text(PRELUDE + textwrap.dedent(program))
    return (sys.executable, str(script))


def model_of(program: str, folder: Path, limits: WorkerLimits = LIMITS) -> Model:
    """A model called tiny, version 1, whose worker is that program."""
    worker = Worker(folder, 1, limits, lambda _: None, command_of(program, folder))
    manifest = make_manifest("1")
    return Model(Slot(folder, BLOB.digest, Assignment("a", manifest.reference, BLOB, BLOB, "s", 1.0), manifest), worker)

"""What the event loop can hear of."""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.tasks import TaskDone
from edge_agent.threads import ThreadDied
from edge_agent.worker.client import Worker
from neo.link import Connected, Disconnected, Message


@dataclass(frozen=True, slots=True)
class Stop:
    """End the loop. reason: for the log."""

    reason: str


@dataclass(frozen=True, slots=True)
class WorkerExited:
    worker: Worker


Event = Connected | Disconnected | Message | TaskDone | WorkerExited | ThreadDied | Stop

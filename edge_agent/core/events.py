"""What the event loop can hear of."""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.tasks import TaskDone
from edge_agent.worker.client import Worker
from neo.link import Connected, Disconnected, Message
from neo.supervision import ThreadDied


@dataclass(frozen=True, slots=True)
class Stop:
    """End the loop. reason: for the log."""

    reason: str


@dataclass(frozen=True, slots=True)
class WorkerExited:
    worker: Worker


AgentEvent = Connected | Disconnected | Message | TaskDone | WorkerExited | ThreadDied | Stop

"""One model's place on the device: what installs bundles into it, and what keeps the live one answering.

The only thing that the event loop knows of installing. A device has one of them now.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path

from edge_agent.install.fetch import FetchRules
from edge_agent.install.installer import Installer
from edge_agent.install.sources import Sources
from edge_agent.install.starter import ModelStarter
from edge_agent.install.supervisor import Supervisor
from edge_agent.tasks import Work
from edge_agent.worker.client import Worker
from edge_agent.worker.models import Serving
from neo.contract.messages import Live, Phase
from neo.errors import NeoError
from neo.store import Store

logger = logging.getLogger(__name__)

ASSIGN_EVERY_S = 0.5  # a flood of assignments must not wear out the flash: only the newest of this time is taken up


@dataclass(frozen=True, slots=True)
class DeploymentState:
    phase: Phase
    #: the id of what is worked on or was finished, "" if nothing was assigned
    assignment: str
    live: Live | None
    #: (done, total) bytes of the transfer
    progress: tuple[int, int]
    #: why the assigned bundle is not live, why no model answers, or what the live one fails at
    error: NeoError | None


class Deployment:
    """All calls come from the event loop's thread, with the time (monotonic, s). None of them waits for a disk."""

    def __init__(
        self,
        state_dir: Path,
        *,
        store: Store,
        starter: ModelStarter,
        serving: Serving,
        rules: FetchRules,
        work: Work,
        sources: Sources,
    ) -> None:
        self._serving = serving
        self._installer = Installer(
            state_dir, store=store, serving=serving, starter=starter, rules=rules, work=work, sources=sources
        )
        self._supervisor = Supervisor(serving, starter, work, on_boot=self._on_boot, on_broke=self._on_broke)
        self.had_model = starter.slots.current is not None  #: when the agent started
        self._booted = False
        self._assigned: bytes | None = None
        self._assigned_at = -math.inf
        self._now = 0.0

    @property
    def is_booted(self) -> bool:
        """False as long as it is not known whether the model of before answers."""
        return self._booted

    @property
    def is_under_way(self) -> bool:
        return self._installer.is_under_way

    @property
    def state(self) -> DeploymentState:
        record = self._installer.record
        error = record.error or self._supervisor.trouble
        return DeploymentState(record.phase, record.assignment_id, self._serving.live, self._installer.progress, error)

    @property
    def retry_at(self) -> float | None:
        """When what failed is tried again by itself (monotonic, s); None: not before another assignment."""
        return self._installer.retry_at

    def boot(self, now: float) -> None:
        self._now = now
        self._supervisor.boot()

    def assign(self, payload: bytes) -> None:
        """Kept until the model of before answers and the device's id is known to be its own."""
        self._assigned = payload

    def take_chunk(self, payload: bytes, now: float) -> None:
        self._installer.take_chunk(payload, now)

    def reconnected(self, now: float) -> None:
        self._installer.reconnected(now)

    def worker_exited(self, worker: Worker, now: float) -> None:
        self._supervisor.worker_exited(worker, now)

    def tick(self, now: float, *, connected: bool, may_change: bool) -> None:
        """may_change: the broker is known to know no other device of this id."""
        self._now = now
        self._supervisor.tick(now)
        if not self._booted:
            return
        if self._assigned is not None and may_change and now - self._assigned_at >= ASSIGN_EVERY_S:
            payload, self._assigned, self._assigned_at = self._assigned, None, now
            self._installer.assign(payload, now)
        self._installer.tick(now, connected=connected)

    def close(self) -> None:
        """Stop the live model; waits for its worker."""
        self._serving.close()

    def _on_boot(self, error: NeoError | None) -> None:
        self._booted = True
        self._installer.resume(error, self._now)

    def _on_broke(self, error: NeoError) -> None:
        self._installer.give_up(error, self._now)

"""From a slot to a model that has passed its self-test in a worker of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edge_agent.install.slots import Slots
from edge_agent.worker.client import Worker, WorkerLimits
from edge_agent.worker.models import Model
from neo.trust import Authority

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelStarter:
    """on_exit hears of every worker that ends, wanted or not. start_worker: (folder, threads, limits, on_exit)."""

    slots: Slots
    authority: Authority
    threads: int | None
    on_exit: Callable[[Worker], None]
    limits: WorkerLimits = field(default_factory=WorkerLimits)
    start_worker: Callable[[Path, int | None, WorkerLimits, Callable[[Worker], None]], Worker] = Worker

    def start(self, digest: str) -> Model:
        """Verify the slot, load it in a new worker and run the golden samples there; takes seconds.

        Raises TrustError, BundleError, StoreError, TargetError, EngineError; then no worker is left.
        """
        slot = self.slots.check(digest, self.authority)
        worker = self.start_worker(slot.folder, self.threads, self.limits, self.on_exit)
        try:
            parity = worker.self_test()
        except BaseException:  # whatever ends the self-test, this thread too: nobody else knows of the worker yet
            worker.stop()
            raise
        logger.info("%s passed its self-test: %s", slot.assignment.reference, parity)
        return Model(slot, worker)

"""The model that answers: a checked slot and the worker that holds it, and how one takes over from another."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from securesystemslib.signer import Key

from edge_agent.slots import Slot, Slots
from edge_agent.worker_client import Worker, WorkerLimits
from neo.contract.messages import Live

logger = logging.getLogger(__name__)


class Tally:
    """Predictions of one model since its worker started, counted by many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answered = self._failed = 0

    @property
    def counts(self) -> tuple[int, int]:
        """(answered, failed): requests that the model answered, and valid requests that it failed for."""
        with self._lock:
            return self._answered, self._failed

    def answered(self) -> None:
        with self._lock:
            self._answered += 1

    def failed(self) -> None:
        with self._lock:
            self._failed += 1


@dataclass(frozen=True, slots=True)
class Model:
    slot: Slot
    worker: Worker
    tally: Tally = field(default_factory=Tally)

    def live(self, since: float) -> Live:
        return Live(self.slot.digest, self.slot.assignment.reference, self.slot.manifest.engine, since)


@dataclass(frozen=True, slots=True)
class ModelStarter:
    """on_exit hears of every worker that ends, wanted or not. start_worker: (folder, threads, limits, on_exit)."""

    slots: Slots
    keys: Sequence[Key]
    threads: int | None
    on_exit: Callable[[Worker], None]
    limits: WorkerLimits = field(default_factory=WorkerLimits)
    start_worker: Callable[[Path, int | None, WorkerLimits, Callable[[Worker], None]], Worker] = Worker

    def start(self, digest: str) -> Model:
        """Verify the slot, load it in a new worker and run the golden samples there; takes seconds.

        Raises TrustError, BundleError, StoreError, TargetError, EngineError; then no worker is left.
        """
        slot = self.slots.check(digest, self.keys)
        worker = self.start_worker(slot.folder, self.threads, self.limits, self.on_exit)
        try:
            parity = worker.self_test()
        except BaseException:
            worker.stop()
            raise
        logger.info("%s passed its self-test: %s", slot.assignment.reference, parity)
        return Model(slot, worker)


class Serving:
    """Which model answers now. Requests that began with the old one end with it, then it stops."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._model: Model | None = None
        self._leases: dict[int, int] = {}

    @property
    def model(self) -> Model | None:
        return self._model

    @contextmanager
    def lease(self) -> Iterator[Model | None]:
        """The model for one request; it is not stopped before the block ends. None while nothing is live."""
        with self._lock:
            model = self._model
            if model is not None:
                self._leases[id(model)] = self._leases.get(id(model), 0) + 1
        try:
            yield model
        finally:
            if model is not None:
                self._give_back(model)

    def replace(self, model: Model | None) -> None:
        with self._lock:
            old, self._model = self._model, model
            unused = old is not None and id(old) not in self._leases
        if old is not None and unused:
            old.worker.stop()

    def _give_back(self, model: Model) -> None:
        with self._lock:
            self._leases[id(model)] -= 1
            unused = self._leases[id(model)] == 0
            if unused:
                del self._leases[id(model)]
            stop = unused and self._model is not model
        if stop:
            model.worker.stop()

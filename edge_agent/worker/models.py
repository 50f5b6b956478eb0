"""The model that answers: a checked slot and the worker that holds it, and how one takes over from another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edge_agent.worker.client import Worker
from neo.contract.manifest import Manifest
from neo.contract.messages import Assignment, Live
from neo.errors import EngineError


@dataclass(frozen=True, slots=True)
class Slot:
    """A bundle on disk that was checked from its signature down to every byte."""

    #: the unpacked bundle, as ``neo.runtime.load`` takes it
    folder: Path
    #: of the bundle's OCI manifest
    digest: str
    assignment: Assignment
    manifest: Manifest


class Tally:
    """Predictions of one model since its worker started, counted by many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answered = self._failed = 0
        self._failure: EngineError | None = None

    @property
    def counts(self) -> tuple[int, int]:
        """(answered, failed): requests that the model answered, and valid requests that it failed for."""
        with self._lock:
            return self._answered, self._failed

    @property
    def last_failure(self) -> EngineError | None:
        return self._failure

    def answered(self) -> None:
        with self._lock:
            self._answered += 1

    def failed(self, error: EngineError) -> None:
        with self._lock:
            self._failed += 1
            self._failure = error


@dataclass(frozen=True, slots=True)
class Model:
    slot: Slot
    worker: Worker
    tally: Tally = field(default_factory=Tally)


class Serving:
    """Which model answers now. Requests that began with the old one end with it, then it stops.

    stop: how a worker that nobody needs any more is stopped, which takes up to seconds.
    """

    def __init__(self, stop: Callable[[Worker], None] = Worker.stop) -> None:
        self._lock = threading.Lock()
        self._stop = stop
        self._model: Model | None = None
        self._since = 0.0
        self._leases: dict[int, int] = {}

    @property
    def model(self) -> Model | None:
        return self._model

    @property
    def live(self) -> Live | None:
        """As the device reports it."""
        with self._lock:
            model, since = self._model, self._since
        if model is None:
            return None
        slot = model.slot
        return Live(slot.digest, slot.assignment.reference, slot.manifest.engine, since)

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

    def replace(self, model: Model | None, since: float = 0.0) -> None:
        """since: Unix time in seconds at which the model's bundle became the live one."""
        with self._lock:
            old, self._model, self._since = self._model, model, since
            unused = old is not None and id(old) not in self._leases
        if old is not None and unused:
            self._stop(old.worker)

    def close(self) -> None:
        """Nothing is live any more; waits for the worker to stop."""
        model = self._model
        self.replace(None)
        if model is not None:
            model.worker.stop()

    def _give_back(self, model: Model) -> None:
        with self._lock:
            self._leases[id(model)] -= 1
            unused = self._leases[id(model)] == 0
            if unused:
                del self._leases[id(model)]
            stop = unused and self._model is not model
        if stop:
            self._stop(model.worker)

"""Slow work beside the event loop: one thread for each kind, in order; the outcome comes back as an event."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from neo.errors import NeoError

logger = logging.getLogger(__name__)

OnDone = Callable[[Any, NeoError | None], None]


@dataclass(frozen=True, slots=True)
class TaskDone:
    """on_done belongs to the event loop: it is called there with (result, None) or (None, error)."""

    on_done: OnDone
    result: Any
    error: NeoError | None


class Tasks:
    """A daemon thread: when the agent ends, it does not wait for a model that is just being loaded."""

    def __init__(self, inbox: queue.SimpleQueue[Any], name: str = "tasks") -> None:
        self._inbox = inbox
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], OnDone]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def submit(self, job: Callable[[], Any], on_done: OnDone | None = None) -> None:
        """on_done: None for work of which only a failure is of interest, to be logged."""
        self._jobs.put((job, on_done or _log_failure))

    def _work(self) -> None:
        while True:
            job, on_done = self._jobs.get()
            try:
                done = TaskDone(on_done, job(), None)
            except NeoError as error:
                done = TaskDone(on_done, None, error)
            except Exception as error:  # a mistake of ours must not stop the device from answering with the old model
                logger.exception("unexpected failure")
                done = TaskDone(on_done, None, NeoError(f"unexpected {type(error).__name__}: {error}"))
            self._inbox.put(done)


@dataclass(frozen=True, slots=True)
class Work:
    """disk: whatever writes to or reads much from the disk; what is submitted first is on disk first. models:
    unpacking, checking, loading, testing and stopping models, which takes up to minutes and must not hold up the disk.
    """

    disk: Tasks
    models: Tasks

    @classmethod
    def reporting_to(cls, inbox: queue.SimpleQueue[Any]) -> Work:
        return cls(Tasks(inbox, "disk"), Tasks(inbox, "models"))


def _log_failure(_result: Any, error: NeoError | None) -> None:
    if error is not None:
        logger.warning("%s", error)

"""Slow work beside the event loop: one thread, in order; the outcome comes back as an event."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from neo.errors import NeoError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TaskDone:
    """on_done belongs to the event loop: it is called there with (result, None) or (None, error)."""

    on_done: Callable[[Any, NeoError | None], None]
    result: Any
    error: NeoError | None


class Tasks:
    """A daemon thread: when the agent ends, it does not wait for a model that is just being loaded."""

    def __init__(self, inbox: queue.SimpleQueue[Any]) -> None:
        self._inbox = inbox
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Callable[[Any, NeoError | None], None]]] = (
            queue.SimpleQueue()
        )
        threading.Thread(target=self._work, name="tasks", daemon=True).start()

    def submit(self, job: Callable[[], Any], on_done: Callable[[Any, NeoError | None], None]) -> None:
        self._jobs.put((job, on_done))

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

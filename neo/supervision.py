"""Threads that end loudly: a failure is logged and told, and the work is started again or left to stop the program.

``SupervisedThread`` is for work of ours; ``reporting_deaths`` hears of every other thread, those of libraries too.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from neo.errors import NeoError

log = logging.getLogger(__name__)

FIRST_DELAY_S, MAX_DELAY_S = 1.0, 60.0


def restart_delays() -> Iterator[float]:
    """Seconds before each further start: twice as long each time, bounded; their number is not."""
    for attempt in itertools.count():
        yield min(FIRST_DELAY_S * 2 ** min(attempt, 16), MAX_DELAY_S)


class SupervisedThread(threading.Thread):
    """Runs work until it returns. What work raises is logged and given to on_failure; then work runs again.

    work: returns soon after ``stopping`` is set. It tells others that it is gone (a retained presence, say) itself, in
    a ``finally``. restart=False: a failure ends the thread, and on_failure has to stop the program.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], None],
        *,
        stopping: threading.Event,
        on_failure: Callable[[Exception], None] = lambda _: None,
        restart: bool = True,
        delays: Callable[[], Iterator[float]] = restart_delays,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._work = work
        self._stopping = stopping
        self._on_failure = on_failure
        self._restart = restart
        self._delays = delays

    def run(self) -> None:
        delays = self._delays()
        while True:
            begun = time.monotonic()
            try:
                self._work()
            except Exception as error:  # noqa: BLE001 - work is anybody's; without this its thread would end in silence
                self._report(error)
                if not self._restart:
                    return
            else:
                return
            if time.monotonic() - begun > MAX_DELAY_S:  # it had worked for long: this is a new trouble
                delays = self._delays()
            if self._stopping.wait(next(delays)):
                return

    def _report(self, error: Exception) -> None:
        if isinstance(error, NeoError):
            log.error("%s failed: %s. %s", self.name, error.message, error.hint)
        else:
            log.error("%s failed", self.name, exc_info=error)
        self._on_failure(error)


@dataclass(frozen=True, slots=True)
class ThreadDied:
    name: str
    error: BaseException


@contextmanager
def reporting_deaths(report: Callable[[ThreadDied], None]) -> Iterator[None]:
    """Report hears of every thread in this process that ends with an exception, whoever started it."""

    def log_and_report(what: threading.ExceptHookArgs) -> None:
        name = "?" if what.thread is None else what.thread.name
        error = what.exc_value or what.exc_type()
        log.critical("thread %s died", name, exc_info=error)
        report(ThreadDied(name, error))

    before = threading.excepthook
    threading.excepthook = log_and_report
    try:
        yield
    finally:
        threading.excepthook = before

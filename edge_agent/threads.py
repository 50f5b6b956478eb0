"""No thread of the agent ends unseen: what a thread does not catch stops the program, which systemd starts again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

logger = logging.getLogger(__name__)


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
        logger.critical("thread %s died", name, exc_info=error)
        report(ThreadDied(name, error))

    before = threading.excepthook
    threading.excepthook = log_and_report
    try:
        yield
    finally:
        threading.excepthook = before

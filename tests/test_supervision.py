"""A supervised thread never ends in silence."""

from __future__ import annotations

import itertools
import logging
import threading

from neo.errors import StoreError
from neo.supervision import MAX_DELAY_S, SupervisedThread, restart_delays

WAIT_S = 10.0


def test_work_that_fails_is_logged_told_and_started_again(caplog):
    stopping = threading.Event()
    told: list[Exception] = []
    runs = itertools.count()
    working = threading.Event()

    def work() -> None:
        if next(runs) == 0:
            raise StoreError("the index is damaged", hint="mend it")
        working.set()
        stopping.wait(WAIT_S)

    thread = SupervisedThread(
        "the worker", work, stopping=stopping, on_failure=told.append, delays=lambda: itertools.repeat(0.0)
    )
    thread.start()
    assert working.wait(WAIT_S)
    stopping.set()
    thread.join(WAIT_S)
    assert not thread.is_alive()
    assert [str(error) for error in told] == ["the index is damaged"]
    assert "the worker failed: the index is damaged. mend it" in caplog.text


def test_work_that_must_not_be_started_again_ends_and_tells(caplog):
    told: list[Exception] = []

    def work() -> None:
        raise KeyError("a mistake of ours")

    thread = SupervisedThread("it", work, stopping=threading.Event(), on_failure=told.append, restart=False)
    thread.start()
    thread.join(WAIT_S)
    assert not thread.is_alive()
    assert len(told) == 1
    assert caplog.records[0].levelno == logging.ERROR
    assert "Traceback" in caplog.text


def test_stopping_ends_the_wait_for_the_next_start():
    stopping = threading.Event()
    failed = threading.Event()

    def work() -> None:
        failed.set()
        raise OSError

    thread = SupervisedThread("it", work, stopping=stopping, delays=lambda: itertools.repeat(3600.0))
    thread.start()
    assert failed.wait(WAIT_S)
    stopping.set()
    thread.join(WAIT_S)
    assert not thread.is_alive()


def test_the_wait_grows_and_is_bounded_but_the_number_of_starts_is_not():
    delays = list(itertools.islice(restart_delays(), 10_000))
    assert delays[:3] == [1.0, 2.0, 4.0]
    assert max(delays) == delays[-1] == MAX_DELAY_S

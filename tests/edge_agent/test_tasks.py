from __future__ import annotations

import queue
from typing import Any

from edge_agent.tasks import TaskDone, Tasks
from neo.errors import NeoError, TrustError


def run(*jobs: Any) -> list[TaskDone]:
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    tasks = Tasks(inbox)
    for job in jobs:
        tasks.submit(job, lambda *_: None)
    return [inbox.get(timeout=5) for _ in jobs]


def fail(error: Exception) -> Any:
    def job() -> None:
        raise error

    return job


def test_results_come_back_in_order() -> None:
    assert [done.result for done in run(lambda: 1, lambda: 2)] == [1, 2]


def test_an_error_keeps_its_class_and_the_next_task_runs() -> None:
    first, second = run(fail(TrustError("no")), lambda: 2)
    assert isinstance(first.error, TrustError)
    assert second.result == 2


def test_a_mistake_of_ours_becomes_an_error_that_can_be_reported(caplog: Any) -> None:
    (done,) = run(fail(ZeroDivisionError("oops")))
    assert isinstance(done.error, NeoError)
    assert "ZeroDivisionError: oops" in done.error.message
    assert "Traceback" in caplog.text

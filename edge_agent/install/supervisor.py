"""Keeps a model answering: at boot, when a worker dies, and when a model fails predictions. Falls back to the previous
bundle when the live one is broken. Lives in the event loop's thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from edge_agent.install.starter import ModelStarter
from edge_agent.install.trouble import FailureWatch
from edge_agent.tasks import Work
from edge_agent.worker.client import Worker, WorkerUnavailable
from edge_agent.worker.models import Model, Serving
from neo.errors import EngineError, NeoError

logger = logging.getLogger(__name__)

MAX_DEATHS = 3
WITHIN_S = 60.0
RESTART_S = 0.2
RESTART_CAP_S = 30.0


@dataclass(frozen=True, slots=True)
class Started:
    """error: why the bundle that should be live is not. fell_back: the model is the previous one."""

    model: Model | None
    error: NeoError | None
    fell_back: bool = False


class Supervisor:
    """on_boot hears once what was found at boot; on_broke that the live bundle was given up."""

    def __init__(
        self,
        serving: Serving,
        starter: ModelStarter,
        work: Work,
        *,
        on_boot: Callable[[NeoError | None], None],
        on_broke: Callable[[NeoError], None],
    ) -> None:
        self._slots = starter.slots
        self._serving = serving
        self._starter = starter
        self._work = work
        self._on_boot = on_boot
        self._on_broke = on_broke
        self._failures: FailureWatch | None = None
        self._deaths: list[float] = []
        self._restart_at: float | None = None
        self._now = 0.0
        self._trouble: NeoError | None = None

    @property
    def trouble(self) -> NeoError | None:
        """Why no model answers, or what the live one fails at; None if all is well, or there is nothing to start."""
        model = self._serving.model
        return self._trouble if model is None else self._failures_of(model).trouble

    def boot(self) -> None:
        self._work.models.submit(self._start_current_or_previous, self._booted)

    def worker_exited(self, worker: Worker, now: float) -> None:
        self._now = now
        model = self._serving.model
        if model is None or model.worker is not worker:
            self._stop(worker)
            return
        self._trouble = EngineError(f"the worker of {model.slot.assignment.reference} died and is started again")
        logger.error("%s", self._trouble)
        self._serving.replace(None)
        self._died()

    def tick(self, now: float) -> None:
        self._now = now
        model = self._serving.model
        if model is not None and self._failures_of(model).wants_test(now):
            self._work.models.submit(model.worker.self_test, lambda _, error: self._tested_again(model, error))
        if self._restart_at is None or now < self._restart_at:
            return
        self._restart_at = None
        digest = self._slots.current
        if digest is not None and self._serving.model is None:
            self._work.models.submit(lambda: self._starter.start(digest), self._restarted)

    def _failures_of(self, model: Model) -> FailureWatch:
        if self._failures is None or self._failures.model is not model:
            self._failures = FailureWatch(model)
        return self._failures

    def _tested_again(self, model: Model, error: NeoError | None) -> None:
        if self._serving.model is not model:
            return
        self._failures_of(model).tested(self._now, passed=error is None)
        if error is None:
            logger.error("it stays: %s", self.trouble)
        # the end of a worker is no verdict on the model, and is heard of by itself
        elif not isinstance(error, WorkerUnavailable):
            self._give_up(model, error)

    def _give_up(self, model: Model, error: NeoError) -> None:
        self._trouble = EngineError(
            f"{model.slot.assignment.reference} failed predictions, and then its self-test: {error.message}",
            hint="compile it again for this kind of device, or with the other engine (--engine)",
        )
        logger.error("%s", self._trouble)
        self._serving.replace(None)
        if self._has_previous():
            self._fall_back(self._trouble)
        else:
            self._died()  # a fresh worker may do better, and there is nothing else to try

    def _died(self) -> None:
        self._deaths = [at for at in self._deaths if self._now - at < WITHIN_S] + [self._now]
        if len(self._deaths) >= MAX_DEATHS and self._has_previous():
            self._fall_back(
                EngineError(
                    f"the model crashed {MAX_DEATHS} times within {WITHIN_S:.0f} s; the previous one was taken back",
                    hint="compile it again for this kind of device, or with the other engine (--engine)",
                )
            )
        else:
            self._restart_at = self._now + min(RESTART_S * 4.0 ** (len(self._deaths) - 1), RESTART_CAP_S)

    def _restarted(self, model: Model | None, error: NeoError | None) -> None:
        if model is None:
            logger.error("the model cannot be started again: %s", error)
            self._trouble = error
            self._died()
        else:
            self._take_over(model, lambda _taken: None)

    def _has_previous(self) -> bool:
        return self._slots.previous not in (None, self._slots.current)

    def _fall_back(self, reason: NeoError) -> None:
        self._deaths.clear()

        def start_previous() -> Started:
            digest = self._slots.previous
            return Started(None if digest is None else self._starter.start(digest), reason, fell_back=True)

        self._work.models.submit(start_previous, self._fell_back)

    def _fell_back(self, started: Started | None, error: NeoError | None) -> None:
        if started is None or started.model is None or started.error is None:
            logger.error("the previous model does not start either: %s", error)
            self._trouble = error or self._trouble
            self._restart_at = self._now + RESTART_CAP_S
        else:
            self._take_over(started.model, partial(self._took_back, started.error), fall_back=True)

    def _took_back(self, reason: NeoError, taken: bool) -> None:
        if taken:
            self._on_broke(reason)

    def _start_current_or_previous(self) -> Started:
        current, previous = self._slots.current, self._slots.previous
        if current is None:
            return Started(None, None)
        try:
            return Started(self._starter.start(current), None)
        except NeoError as error:
            logger.error("the live model does not start: %s", error)  # noqa: TRY400  told to the user, no traceback
            if previous in (None, current):
                return Started(None, error)
            return self._start_previous_instead(previous, error)

    def _start_previous_instead(self, digest: str, error: NeoError) -> Started:
        try:
            return Started(self._starter.start(digest), error, fell_back=True)
        except NeoError as second:
            logger.error("the previous model does not start either: %s", second)  # noqa: TRY400  as above
            return Started(None, error)

    def _booted(self, started: Started | None, error: NeoError | None) -> None:
        if started is None or started.model is None:
            self._trouble = error if started is None else started.error
            self._on_boot(self._trouble)
        else:
            reason = started.error
            self._take_over(started.model, lambda _taken: self._on_boot(reason), fall_back=started.fell_back)

    def _take_over(self, model: Model, then: Callable[[bool], None], *, fall_back: bool = False) -> None:
        """then: called with False if another model became live while this one was started, which is stopped then."""

        def settle() -> float | None:
            """In the disk's thread, where alone the links change. -> since when the bundle is the live one."""
            expected = self._slots.previous if fall_back else self._slots.current
            if model.slot.digest != expected:
                return None
            if fall_back:
                try:
                    self._slots.fall_back()
                except NeoError as error:
                    # a full disk must not keep the device from answering; the next boot comes here again
                    logger.warning("the links could not be changed: %s", error)
            return self._slots.current_since

        def settled(since: float | None, error: NeoError | None) -> None:
            if since is None or self._serving.model is not None:
                logger.warning("%s was not needed: %s", model.slot.assignment.reference, error or "another is live")
                self._stop(model.worker)
                then(False)
                return
            if fall_back:
                logger.error("fell back to %s", model.slot.assignment.reference)
            self._serving.replace(model, since)
            then(True)

        self._work.disk.submit(settle, settled)

    def _stop(self, worker: Worker) -> None:
        self._work.models.submit(worker.stop)

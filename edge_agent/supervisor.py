"""Keeps a model answering: at boot, and when a worker dies. Falls back to the previous bundle when the live one is
broken. Lives in the event loop's thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.models import Model, ModelStarter, Serving
from edge_agent.tasks import Tasks
from edge_agent.worker_client import Worker
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
        tasks: Tasks,
        *,
        on_boot: Callable[[NeoError | None], None],
        on_broke: Callable[[NeoError], None],
    ) -> None:
        self._slots = starter.slots
        self._serving = serving
        self._starter = starter
        self._tasks = tasks
        self._on_boot = on_boot
        self._on_broke = on_broke
        self._deaths: list[float] = []
        self._restart_at: float | None = None
        self._now = 0.0
        self._trouble: NeoError | None = None

    @property
    def trouble(self) -> NeoError | None:
        """Why no model answers; None while one does, or while there is nothing to start."""
        return self._trouble if self._serving.model is None else None

    def boot(self) -> None:
        self._tasks.submit(self._start_current_or_previous, self._booted)

    def worker_exited(self, worker: Worker, now: float) -> None:
        self._now = now
        worker.stop()
        model = self._serving.model
        if model is None or model.worker is not worker:
            return
        self._trouble = EngineError(f"the worker of {model.slot.assignment.reference} died and is started again")
        logger.error("%s", self._trouble)
        self._serving.replace(None)
        self._died()

    def tick(self, now: float) -> None:
        self._now = now
        if self._restart_at is None or now < self._restart_at:
            return
        self._restart_at = None
        digest = self._slots.current
        if digest is not None and self._serving.model is None:
            self._tasks.submit(lambda: self._starter.start(digest), self._restarted)

    def _died(self) -> None:
        self._deaths = [at for at in self._deaths if self._now - at < WITHIN_S] + [self._now]
        if len(self._deaths) >= MAX_DEATHS and self._slots.previous not in (None, self._slots.current):
            self._deaths.clear()
            self._tasks.submit(self._start_previous, self._fell_back)
        else:
            self._restart_at = self._now + min(RESTART_S * 4.0 ** (len(self._deaths) - 1), RESTART_CAP_S)

    def _restarted(self, model: Model | None, error: NeoError | None) -> None:
        if model is None:
            logger.error("the model cannot be started again: %s", error)
            self._trouble = error
            self._died()
        else:
            self._take_over(model)

    def _start_previous(self) -> Started:
        digest = self._slots.previous
        error = EngineError(
            f"the model crashed {MAX_DEATHS} times within {WITHIN_S:.0f} s; the previous one was taken back",
            hint="compile it again for this kind of device, or with the other engine (--engine)",
        )
        return Started(None if digest is None else self._starter.start(digest), error, fell_back=True)

    def _fell_back(self, started: Started | None, error: NeoError | None) -> None:
        if started is None or started.model is None or started.error is None:
            logger.error("the previous model does not start either: %s", error)
            self._trouble = error
            self._restart_at = self._now + RESTART_CAP_S
        elif self._take_over(started.model, fall_back=True):
            self._on_broke(started.error)

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
        if started is None:
            self._trouble = error
            self._on_boot(error)
            return
        self._trouble = started.error
        if started.model is not None:
            self._take_over(started.model, fall_back=started.fell_back)
        self._on_boot(started.error)

    def _take_over(self, model: Model, *, fall_back: bool = False) -> bool:
        """False if another model became live while this one was started: then this one is stopped."""
        expected = self._slots.previous if fall_back else self._slots.current
        if self._serving.model is not None or model.slot.digest != expected:
            model.worker.stop()
            return False
        if fall_back:
            logger.error("falling back to %s", model.slot.assignment.reference)
            self._slots.fall_back()
        self._serving.replace(model)
        return True

"""Carries out assignments: fetch, test, switch, one at a time; everything it decides is in ``install.TRANSITIONS``.

Lives in the event loop's thread; what takes long runs in ``tasks``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from edge_agent.fetch import Fetch, FetchRules, parse_chunk
from edge_agent.install import Event, InstallRecord, is_worth_retrying, next_phase, read_record, write_record
from edge_agent.models import Model, ModelStarter, Serving
from edge_agent.tasks import Tasks
from neo.contract.fields import ContractError
from neo.contract.messages import Assignment, Want
from neo.errors import NeoError
from neo.store import Store
from neo.store.bundles import Bundle

logger = logging.getLogger(__name__)

RECORD_FILE = "install.json"
RETRY_S = 5.0
RETRY_CAP_S = 300.0


@dataclass(frozen=True, slots=True)
class Outbox:
    """How the installer speaks: ``want`` to a source (its id first), ``changed`` when there is something to report."""

    want: Callable[[str, Want], None]
    changed: Callable[[], None]


class Installer:
    def __init__(
        self,
        state_dir: Path,
        *,
        store: Store,
        serving: Serving,
        starter: ModelStarter,
        rules: FetchRules,
        tasks: Tasks,
        outbox: Outbox,
    ) -> None:
        self._path = state_dir / RECORD_FILE
        self._store = store
        self._slots = starter.slots
        self._serving = serving
        self._starter = starter
        self._rules = rules
        self._tasks = tasks
        self._outbox = outbox
        self._fetch: Fetch | None = None
        self._progress = (0, 0)
        self._retry_at: float | None = None
        self._now = 0.0
        self.record = self._read_record()

    @property
    def progress(self) -> tuple[int, int]:
        """(done, total) bytes of the last transfer."""
        return self._progress if self._fetch is None else self._fetch.progress

    def resume(self, error: NeoError | None, now: float) -> None:
        """After boot: go on with what was under way. error: why the bundle that should be live is not."""
        self._now = now
        assignment = self.record.assignment
        if assignment is None:
            return
        if self._is_live(assignment):
            # killed after the switch and before it was written down, or repaired meanwhile
            self._apply(Event.ALREADY_LIVE)
        elif self.record.is_under_way:
            self._begin(assignment)
        elif self.record.phase == "active":
            self.give_up(error or NeoError(f"{assignment.reference} was live and is not there any more"), now)
        elif self.record.will_retry:
            self._retry_at = now + RETRY_S

    def assign(self, payload: bytes, now: float) -> None:
        """A retained assignment has come, again or anew; empty: it was withdrawn."""
        self._now = now
        if not payload:
            if self.record.assignment is not None:
                self._stop_fetching()
                self._apply(Event.WITHDRAWN, assignment=None)
            return
        try:
            assignment = Assignment.from_bytes(payload)
        except ContractError as error:
            logger.warning("ignored an assignment: %s", error)
            return
        if assignment.id == self.record.assignment_id:
            return
        self._stop_fetching()
        logger.info("assigned %.200r (%s)", assignment.reference, assignment.id)
        if self._is_live(assignment):
            self._apply(Event.ALREADY_LIVE, assignment=assignment)
        else:
            self.record = replace(self.record, retries=0)
            self._begin(assignment)

    def take_chunk(self, payload: bytes, now: float) -> None:
        self._now = now
        fetch, chunk = self._fetch, parse_chunk(payload)
        if fetch is not None and chunk is not None:
            self._guarded(lambda: fetch.take(chunk, now))
            self._advance()

    def tick(self, now: float, *, connected: bool) -> None:
        self._now = now
        assignment = self.record.assignment
        if self._retry_at is not None and now >= self._retry_at and assignment is not None:
            self.record = replace(self.record, retries=self.record.retries + 1)
            self._begin(assignment, Event.RETRY)
        if connected:
            self._advance()

    def reconnected(self, now: float) -> None:
        if self._fetch is not None:
            self._fetch.reconnected(now)

    def give_up(self, error: NeoError, now: float) -> None:
        """The live bundle broke. It is not tried again before a new assignment, unless the fault may pass."""
        self._now = now
        if self.record.phase == "active":
            self._fail(error, Event.BROKE)

    def _begin(self, assignment: Assignment, event: Event = Event.ASSIGNED) -> None:
        self._retry_at, self._progress = None, (0, 0)
        self._apply(event, assignment=assignment)
        self._guarded(lambda: self._start_fetch(assignment))
        self._advance()

    def _start_fetch(self, assignment: Assignment) -> None:
        self._fetch = Fetch(assignment, self._store, self._rules, self._now)

    def _advance(self) -> None:
        fetch = self._fetch
        if fetch is None:
            return
        self._guarded(lambda: self._send_wants(fetch))
        if self._fetch is not None and fetch.result is not None:
            self._stop_fetching()
            self._apply(Event.FETCHED)
            self._test(fetch.assignment, *fetch.result)

    def _send_wants(self, fetch: Fetch) -> None:
        for want in fetch.wants(self._now):
            self._outbox.want(fetch.assignment.source, want)

    def _test(self, assignment: Assignment, bundle: Bundle, envelope: bytes) -> None:
        def unpack_and_start() -> Model:
            if assignment.id != self.record.assignment_id:  # a queue of these must not hold up the newest
                raise NeoError(f"assignment {assignment.id} was replaced before its test began")
            self._slots.unpack(bundle, assignment, envelope)
            return self._starter.start(bundle.descriptor.digest)

        self._tasks.submit(unpack_and_start, lambda model, error: self._tested(assignment, model, error))

    def _tested(self, assignment: Assignment, model: Model | None, error: NeoError | None) -> None:
        if assignment.id != self.record.assignment_id or self.record.phase != "testing":
            # another assignment came meanwhile
            if model is not None:
                model.worker.stop()
        elif model is None:
            self._fail(error or NeoError("the self-test ended without a result"), Event.FAILED)
        else:
            self._apply(Event.TESTED)
            self._guarded(lambda: self._switch(model))

    def _switch(self, model: Model) -> None:
        try:
            self._slots.switch(model.slot.digest)
        except NeoError:
            model.worker.stop()
            raise
        self._serving.replace(model)
        self._apply(Event.SWITCHED)
        logger.info("%s is live", model.slot.assignment.reference)
        self._slots.remove_all_but([self._slots.current, self._slots.previous])

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except NeoError as error:
            self._fail(error, Event.FAILED)

    def _fail(self, error: NeoError, event: Event) -> None:
        self._stop_fetching()
        logger.error("%s failed: %s", self.record.assignment_id, error)
        self._apply(event, error=error)
        if self.record.phase == "failed" and is_worth_retrying(error):
            self._retry_at = self._now + min(RETRY_S * 2.0 ** min(self.record.retries, 16), RETRY_CAP_S)

    def _apply(self, event: Event, **changes: object) -> None:
        """One row of the table, written down before anything else happens."""
        phase = next_phase(self.record.phase, event)
        if phase is None:
            logger.warning("ignored %r while %s", event.value, self.record.phase)
            return
        record: InstallRecord = replace(self.record, **{"phase": phase, "error": None, **changes})  # type: ignore[arg-type]
        self.record = record
        try:
            write_record(self._path, record)
        except NeoError as error:
            # a full disk: what is live is on disk already, and the record is written again with the next step
            logger.warning("cannot write %s: %s", self._path, error)
        self._outbox.changed()

    def _stop_fetching(self) -> None:
        self._retry_at = None
        if self._fetch is not None:
            self._progress = self._fetch.progress
            self._fetch.close()
            self._fetch = None

    def _is_live(self, assignment: Assignment) -> bool:
        model = self._serving.model
        return model is not None and model.slot.digest == assignment.manifest.digest

    def _read_record(self) -> InstallRecord:
        try:
            return read_record(self._path)
        except ContractError as error:
            logger.warning("%s is damaged and begun anew: %s", self._path, error)
            return InstallRecord()

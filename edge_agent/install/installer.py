"""Carries out assignments: fetch, test, switch, one at a time; everything it decides is in ``table.TRANSITIONS``.

Lives in the event loop's thread and never waits for a disk. What it decides is written down in the disk's thread, in
order; it is said, and acted upon, when it is written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edge_agent.install.download import Download, FetchState
from edge_agent.install.fetch import FetchRules, parse_chunk
from edge_agent.install.sources import Sources
from edge_agent.install.starter import ModelStarter
from edge_agent.install.table import (
    InstallEvent,
    InstallRecord,
    next_phase,
    read_record,
    write_record,
)
from edge_agent.tasks import Work
from edge_agent.worker.models import Model, Serving
from neo.contract.fields import ContractError
from neo.contract.messages import Assignment, Phase
from neo.contract.versions import NewerFormat
from neo.errors import NeoError
from neo.store import Store
from neo.store.bundles import Bundle

logger = logging.getLogger(__name__)

RECORD_FILE = "install.json"
RETRY_S = 5.0
RETRY_CAP_S = 300.0
MAX_DOUBLINGS = 16  # past the cap by far, and a power of two that a float holds


class Installer:
    def __init__(
        self,
        state_dir: Path,
        *,
        store: Store,
        serving: Serving,
        starter: ModelStarter,
        rules: FetchRules,
        work: Work,
        sources: Sources,
    ) -> None:
        self._path = state_dir / RECORD_FILE
        self._store = store
        self._slots = starter.slots
        self._serving = serving
        self._starter = starter
        self._rules = rules
        self._work = work
        self._sources = sources
        self._download: Download | None = None
        self._progress = (0, 0)
        self.retry_at: float | None = None  #: monotonic, s; None: nothing is tried again by itself
        self._now = 0.0
        self._decided = self._read_record()
        self.record = self._decided  #: what is written down, and may be said

    @property
    def is_under_way(self) -> bool:
        return self._decided.is_under_way

    @property
    def progress(self) -> tuple[int, int]:
        """(done, total) bytes of the last transfer."""
        return self._progress if self._download is None else self._download.progress

    def resume(self, error: NeoError | None, now: float) -> None:
        """After boot: go on with what was under way. error: why the bundle that should be live is not."""
        self._now = now
        record = self._decided
        assignment = record.assignment
        if assignment is None:
            return
        if self._is_live(assignment):
            # killed after the switch and before it was written down, or repaired meanwhile
            self._apply(InstallEvent.ALREADY_LIVE)
        elif record.is_under_way:
            self._begin(assignment, record.retries)
        elif record.phase is Phase.ACTIVE:
            self.give_up(error or NeoError(f"{assignment.reference} was live and is not there any more"), now)
        elif record.will_retry:
            self.retry_at = now + RETRY_S

    def assign(self, payload: bytes, now: float) -> None:
        """A retained assignment has come, again or anew; empty: it was withdrawn."""
        self._now = now
        if not payload:
            if self._decided.assignment is not None:
                self._stop_fetching()
                self._apply(InstallEvent.WITHDRAWN, assignment=None)
            return
        try:
            assignment = Assignment.from_bytes(payload)
        except ContractError as error:
            logger.warning("ignored an assignment: %s", error)
            return
        if assignment.id == self._decided.assignment_id:
            return
        self._stop_fetching()
        logger.info("assigned %.200r (%s)", assignment.reference, assignment.id)
        if self._is_live(assignment):
            self._apply(InstallEvent.ALREADY_LIVE, assignment=assignment)
        else:
            self._begin(assignment, retries=0)

    def take_chunk(self, payload: bytes, now: float) -> None:
        self._now = now
        chunk = parse_chunk(payload)
        if self._download is not None and chunk is not None:
            self._download.take(chunk, now)

    def tick(self, now: float, *, connected: bool) -> None:
        self._now = now
        assignment = self._decided.assignment
        if self.retry_at is not None and now >= self.retry_at and assignment is not None:
            self._begin(assignment, self._decided.retries + 1, InstallEvent.RETRY)
        if connected and self._download is not None:
            self._download.tick(now)

    def reconnected(self, now: float) -> None:
        if self._download is not None:
            self._download.reconnected(now)

    def give_up(self, error: NeoError, now: float) -> None:
        """The live bundle broke. It is not tried again before a new assignment, unless the fault may pass."""
        self._now = now
        if self._decided.phase is Phase.ACTIVE:
            self._fail(error, InstallEvent.BROKE)

    def _begin(self, assignment: Assignment, retries: int, event: InstallEvent = InstallEvent.ASSIGNED) -> None:
        self.retry_at, self._progress = None, (0, 0)
        self._apply(event, lambda: self._start_download(assignment), assignment=assignment, retries=retries)

    def _start_download(self, assignment: Assignment) -> None:
        self._download = Download(assignment, self._store, self._rules, self._work.disk, self._downloaded)
        self._download.advance(self._now)

    def _downloaded(self, state: FetchState | None, error: NeoError | None) -> None:
        download = self._download
        if download is None:
            return
        if state is None:
            self._fail(error or NeoError("the fetch ended without a result"), InstallEvent.FAILED)
            return
        self._sources.listen(state.expected)  # before it is asked for: else the first chunks would be missed
        for ask in state.wants:
            self._sources.ask(download.assignment.source, ask)
        if state.result is not None:
            bundle, envelope = state.result
            self._stop_fetching()
            self._apply(InstallEvent.FETCHED, lambda: self._test(download.assignment, bundle, envelope))

    def _test(self, assignment: Assignment, bundle: Bundle, envelope: bytes) -> None:
        def unpack_and_start() -> Model:
            if assignment.id != self._decided.assignment_id:  # a queue of these must not hold up the newest
                raise NeoError(f"assignment {assignment.id} was replaced before its test began")
            self._slots.unpack(bundle, assignment, envelope)
            return self._starter.start(bundle.descriptor.digest)

        self._work.models.submit(unpack_and_start, lambda model, error: self._tested(assignment, model, error))

    def _tested(self, assignment: Assignment, model: Model | None, error: NeoError | None) -> None:
        if not self._is_at(assignment, Phase.TESTING):
            # another assignment came meanwhile
            if model is not None:
                self._stop(model)
        elif model is None:
            self._fail(error or NeoError("the self-test ended without a result"), InstallEvent.FAILED)
        else:
            self._apply(InstallEvent.TESTED, lambda: self._switch(model), lambda: self._stop(model))

    def _switch(self, model: Model) -> None:
        def switch() -> float:
            self._slots.switch(model.slot.digest)
            return self._slots.current_since

        self._work.disk.submit(switch, lambda since, error: self._switched(model, since, error))

    def _switched(self, model: Model, since: float | None, error: NeoError | None) -> None:
        """Whatever was assigned meanwhile: the links on disk name this model now."""
        assignment = model.slot.assignment
        still_wanted = self._is_at(assignment, Phase.SWITCHING)
        if since is None:
            self._stop(model)
            if still_wanted:
                self._fail(error or NeoError("the switch ended without a result"), InstallEvent.FAILED)
            return
        self._serving.replace(model, since)
        logger.info("%s is live", assignment.reference)
        if still_wanted:
            self._apply(InstallEvent.SWITCHED)
            # a new assignment cleans up itself, when it knows what it needs; before that its files belong to nothing
            self._work.disk.submit(self._remove_what_is_not_needed)

    def _remove_what_is_not_needed(self) -> None:
        self._slots.remove_all_but([self._slots.current, self._slots.previous])

    def _fail(self, error: NeoError, event: InstallEvent) -> None:
        self._stop_fetching()
        logger.error("%s failed: %s", self._decided.assignment_id, error)
        self._apply(event, error=error)
        if self._decided.will_retry:
            doublings = min(self._decided.retries, MAX_DOUBLINGS)
            self.retry_at = self._now + min(RETRY_S * 2.0**doublings, RETRY_CAP_S)

    def _apply(
        self,
        event: InstallEvent,
        then: Callable[[], None] | None = None,
        otherwise: Callable[[], None] | None = None,
        **changes: object,
    ) -> None:
        """One row of the table. then: called when it is written down, if nothing else was decided meanwhile;
        otherwise: called if it was.
        """
        phase = next_phase(self._decided.phase, event)
        if phase is None:
            logger.warning("ignored %r while %s", event.value, self._decided.phase.value)
            return
        record: InstallRecord = replace(self._decided, **{"phase": phase, "error": None, **changes})  # type: ignore[arg-type]
        self._decided = record

        def written(_: None, error: NeoError | None) -> None:
            if error is not None:
                # a full disk: what is live is on disk already, and the record is written again with the next step
                logger.warning("cannot write %s: %s", self._path, error)
            self.record = record
            follow = then if self._decided is record else otherwise
            if follow is not None:
                follow()

        self._work.disk.submit(lambda: write_record(self._path, record), written)

    def _stop_fetching(self) -> None:
        self.retry_at = None
        if self._download is not None:
            self._progress = self._download.progress
            self._download.close()
            self._download = None
            self._sources.listen(frozenset())

    def _stop(self, model: Model) -> None:
        self._work.models.submit(model.worker.stop)

    def _is_at(self, assignment: Assignment, phase: Phase) -> bool:
        return self._decided.assignment_id == assignment.id and self._decided.phase is phase

    def _is_live(self, assignment: Assignment) -> bool:
        model = self._serving.model
        return model is not None and model.slot.digest == assignment.manifest.digest

    def _read_record(self) -> InstallRecord:
        try:
            return read_record(self._path)
        except NewerFormat as error:
            logger.error("%s; what is live goes on, and the broker is asked what is assigned", error.message)  # noqa: TRY400  told to the user, no traceback
            return InstallRecord(Phase.FAILED, None, error)
        except ContractError as error:
            logger.warning("%s is damaged and begun anew: %s", self._path, error)
            return InstallRecord()

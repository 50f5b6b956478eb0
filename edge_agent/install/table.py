"""An install as one table of (state, event) -> state, and the record of it on disk.

The record is written before the agent acts on the new state, so that after a kill at any moment it says at least
what had begun. What is live is never read from it: that is the ``current`` link (see ``slots``).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.documents import KEY, SCHEMA, check_schema
from neo.contract.fields import ContractError, as_object, dump_object, get, get_size, parse_object
from neo.contract.messages import PHASES, Assignment, Phase
from neo.durable import replace_file
from neo.errors import DiskFull, NeoError, NotReleased, StoreError, TransferError


class InstallEvent(enum.Enum):
    ASSIGNED = "assigned"  # another bundle should become live
    ALREADY_LIVE = "already live"  # the assigned bundle answers already
    FETCHED = "fetched"  # every blob is here and checked
    TESTED = "tested"  # a candidate worker answered the golden samples
    SWITCHED = "switched"  # the links on disk name the new bundle
    FAILED = "failed"  # the bundle did not become live; the old one goes on
    RETRY = "retry"  # what failed may work now
    BROKE = "broke"  # the live bundle stopped working and was given up
    WITHDRAWN = "withdrawn"  # nobody wants anything


_ANYWHERE = {
    InstallEvent.ASSIGNED: Phase.FETCHING,
    InstallEvent.ALREADY_LIVE: Phase.ACTIVE,
    InstallEvent.WITHDRAWN: Phase.IDLE,
}

TRANSITIONS: dict[tuple[Phase, InstallEvent], Phase] = {
    **{(phase, event): after for phase in Phase for event, after in _ANYWHERE.items()},
    (Phase.FETCHING, InstallEvent.FETCHED): Phase.TESTING,
    (Phase.TESTING, InstallEvent.TESTED): Phase.SWITCHING,
    (Phase.SWITCHING, InstallEvent.SWITCHED): Phase.ACTIVE,
    (Phase.FETCHING, InstallEvent.FAILED): Phase.FAILED,
    (Phase.TESTING, InstallEvent.FAILED): Phase.FAILED,
    (Phase.SWITCHING, InstallEvent.FAILED): Phase.FAILED,
    (Phase.FAILED, InstallEvent.RETRY): Phase.FETCHING,
    (Phase.ACTIVE, InstallEvent.BROKE): Phase.FAILED,
}


def next_phase(phase: Phase, event: InstallEvent) -> Phase | None:
    """The phase after the event, None where the event has no meaning and is ignored."""
    return TRANSITIONS.get((phase, event))


def is_worth_retrying(error: NeoError) -> bool:
    """What may pass without a new assignment: the link, the disk, a full disk, a release that this device has not heard
    of yet. All else stays as it is.
    """
    return isinstance(error, TransferError | DiskFull | NotReleased) or type(error) is StoreError


@dataclass(frozen=True, slots=True)
class InstallRecord:
    """assignment: None while nobody wants anything. error: why the phase is FAILED. retries: since assigned."""

    phase: Phase = Phase.IDLE
    assignment: Assignment | None = None
    error: NeoError | None = None
    retries: int = 0

    @property
    def will_retry(self) -> bool:
        return self.phase == Phase.FAILED and self.error is not None and is_worth_retrying(self.error)

    @property
    def is_under_way(self) -> bool:
        return self.phase in (Phase.FETCHING, Phase.TESTING, Phase.SWITCHING)

    @property
    def assignment_id(self) -> str:
        return "" if self.assignment is None else self.assignment.id

    def to_bytes(self) -> bytes:
        value: dict[str, Any] = {
            KEY: SCHEMA,
            "phase": self.phase.value,
            "retries": self.retries,
            "assignment": None,
            "error": None,
        }
        if self.assignment is not None:
            value["assignment"] = parse_object(self.assignment.to_bytes(), what="assignment")
        if self.error is not None:
            value["error"] = self.error.to_json()
        return dump_object(value)

    @classmethod
    def from_bytes(cls, data: bytes) -> InstallRecord:
        obj = parse_object(data, what="install record")
        check_schema(obj, "install record")
        phase = get(obj, "phase", str, "install record")
        assignment, error = obj.get("assignment"), obj.get("error")
        if phase not in PHASES or (assignment is None and Phase(phase) not in (Phase.IDLE, Phase.FAILED)):
            raise ContractError(f"install record.phase is {phase[:40]!r}")
        return cls(
            Phase(phase),
            None if assignment is None else Assignment.from_bytes(dump_object(as_object(assignment, "assignment"))),
            None if error is None else NeoError.from_json(as_object(error, "error")),
            get_size(obj, "retries", "install record"),
        )


def read_record(path: Path) -> InstallRecord:
    """The record on disk; a fresh one where there is none. Raises NewerFormat, and ContractError if it is damaged."""
    try:
        return InstallRecord.from_bytes(path.read_bytes())
    except FileNotFoundError:
        return InstallRecord()


def write_record(path: Path, record: InstallRecord) -> None:
    """Durably. Raises DiskFull, StoreError."""
    replace_file(path, record.to_bytes())

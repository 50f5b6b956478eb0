"""What is asked of a push, and what comes of it."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from neo.contract.topics import DEFAULT_FLEET
from neo.errors import DeviceError, NeoError
from neo.fleet.records import DeviceRecord
from neo.fleet.variants import Choice
from neo.store.releases import Release, Variant

ALL_DEVICES = "all"
SHOWN_FAILURES = 5


class Stage(str, enum.Enum):
    """How far a device is with one assignment: ``ASSIGNED`` until it says something about it, then its phase."""

    ASSIGNED = "assigned"
    IDLE = "idle"
    FETCHING = "fetching"
    TESTING = "testing"
    SWITCHING = "switching"
    ACTIVE = "active"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class PushRequest:
    #: ids, or "all" for every device that was ever seen
    devices: tuple[str, ...]
    fleet: str = DEFAULT_FLEET
    #: how long to wait at most
    timeout_s: float = 600.0
    #: until it is live or has failed everywhere
    wait: bool = True
    #: also for a device that was never seen
    force: bool = False
    #: with "all": go on although the list of devices may be incomplete
    partial: bool = False
    #: that this push publishes of the store, if no other source serves it; None for no limit
    max_bytes_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    device: str
    #: the last one of this assignment
    stage: Stage
    seconds: float
    transferred_bytes: int
    #: None if the bundle is live there, or nobody waited
    error: NeoError | None

    def to_json(self) -> dict[str, Any]:
        return {
            "device": self.device,
            "phase": self.stage.value,
            "seconds": round(self.seconds, 3),
            "transferred_bytes": self.transferred_bytes,
            "error": None if self.error is None else self.error.to_json(),
        }


@dataclass(frozen=True, slots=True)
class PushResult:
    release: Release
    #: device -> the variant it was assigned, and why that one
    choices: Mapping[str, Choice]
    outcomes: tuple[Outcome, ...]
    #: why the list of devices may lack some, which were then not pushed to; "" if it does not
    doubt: str = ""
    #: devices of the roster that the broker shows nothing of, where all were wanted: they were not pushed to
    absent: tuple[str, ...] = ()

    @property
    def reference(self) -> str:
        """Of the variant, if all devices were assigned the same one; otherwise of the release."""
        only = self._only_variant
        return self.release.reference if only is None else only.reference

    @property
    def digest(self) -> str:
        """Of the manifest of the variant that all devices were assigned; "" if there are several."""
        only = self._only_variant
        return "" if only is None else only.digest

    @property
    def _only_variant(self) -> Variant | None:
        found = {choice.variant.digest: choice.variant for choice in self.choices.values()}
        return next(iter(found.values())) if len(found) == 1 else None

    def to_json(self) -> dict[str, Any]:
        return {
            "reference": self.reference,
            "digest": self.digest,
            "release": self.release.reference,
            "devices": [self._device_json(outcome) for outcome in self.outcomes],
            "complete": not self.doubt,
            "doubt": self.doubt,
            "absent": list(self.absent),
        }

    def _device_json(self, outcome: Outcome) -> dict[str, Any]:
        choice = self.choices[outcome.device]
        chosen = {"reference": choice.variant.reference, "digest": choice.variant.digest, "why": choice.why}
        return {**outcome.to_json(), **chosen}

    def raise_failures(self) -> None:
        """Raises the error of a single failed device as it is; for several, one that names them all. Either carries
        the whole result in its details.
        """
        failed = [outcome for outcome in self.outcomes if outcome.error is not None]
        errors = [outcome.error for outcome in failed if outcome.error is not None]
        if not errors:
            return
        kind = type(errors[0]) if len({type(error) for error in errors}) == 1 else DeviceError
        message = "; ".join(error.message for error in errors[:SHOWN_FAILURES])
        if len(errors) > SHOWN_FAILURES:
            message += f"; and {len(errors) - SHOWN_FAILURES} more, which --json names"
        if len(self.outcomes) > 1:
            message = f"{len(failed)} of {len(self.outcomes)} devices failed: {message}"
        raise kind(message, hint=errors[0].hint, details=self.to_json()) from errors[0]


@dataclass(frozen=True, slots=True)
class DeviceProgress:
    """Where one device is."""

    device: str
    #: all that is known of it
    record: DeviceRecord
    stage: Stage
    done_bytes: int
    total_bytes: int
    #: live or failed
    finished: bool


Watcher = Callable[[DeviceProgress], None]

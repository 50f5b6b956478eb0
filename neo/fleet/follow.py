"""Following the devices of one push until the bundle is live on each or has failed there. No I/O."""

from __future__ import annotations

from collections.abc import Mapping

from neo.contract.messages import Assignment
from neo.errors import DeviceError, NeoError, TrustError, WaitTimeout
from neo.fleet.clock import Clock
from neo.fleet.keyring import UNBELIEVED
from neo.fleet.observe import Observation
from neo.fleet.records import DeviceRecord, Leaf
from neo.fleet.request import DeviceProgress, Outcome, Stage, Watcher

STALLED_S = 3.0  # another source says it is online, yet a device gets nowhere


class Follower:
    """assignments: device id -> what it was assigned. records: what was known of the devices before.

    watch: called whenever a device says something, and when it is done.
    """

    def __init__(
        self,
        assignments: Mapping[str, Assignment],
        records: Mapping[str, DeviceRecord],
        *,
        clock: Clock,
        watch: Watcher,
    ) -> None:
        self._assignments = assignments
        self._records = {device: records.get(device) or DeviceRecord(device) for device in assignments}
        self._clock = clock
        self._watch = watch
        self._echoed: set[str] = set()
        self._outcomes: dict[str, Outcome] = {}
        self._begun = clock.monotonic()
        self._heard_at = dict.fromkeys(assignments, self._begun)
        for device in assignments:
            watch(self._progress(device))

    @property
    def unfinished(self) -> list[str]:
        return [device for device in self._assignments if device not in self._outcomes]

    @property
    def is_finished(self) -> bool:
        return len(self._outcomes) == len(self._assignments)

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Of the devices that are done, in the order of the assignments."""
        return tuple(self._outcomes[device] for device in self._assignments if device in self._outcomes)

    def take(self, observation: Observation) -> None:
        record = observation.record
        if record.device not in self._assignments:
            return
        self._records[record.device] = record
        if record.device in self._outcomes:
            return
        if observation.leaf is Leaf.ASSIGNMENT:
            self._see_assignment(record)
        else:
            self._hear(record)

    @property
    def is_stalled(self) -> bool:
        """An online device has said nothing for a while. A source that went away without a last will still looks
        online.
        """
        now = self._clock.monotonic()
        return any(
            now - heard_at > STALLED_S and self._records[device].online and device not in self._outcomes
            for device, heard_at in self._heard_at.items()
        )

    def give_up(self, timeout_s: float) -> None:
        """Whoever has not finished by now has taken too long."""
        for device in self.unfinished:
            self._finish(device, self._timeout(device, timeout_s))

    def _see_assignment(self, record: DeviceRecord) -> None:
        """Ours comes back from the broker first. Another one after it is somebody else's."""
        device, current = record.device, record.assignment
        if current is not None and current.id == self._assignments[device].id:
            self._echoed.add(device)
        elif device in self._echoed:
            what = "was withdrawn" if current is None else f"was replaced by {current.reference}"
            error = DeviceError(
                f"device {device}: the assignment {what}", hint="somebody else pushes to this device too"
            )
            self._finish(device, error)

    def _hear(self, record: DeviceRecord) -> None:
        """A device has said something: is it done?"""
        self._heard_at[record.device] = self._clock.monotonic()
        progress = self._progress(record.device)
        self._watch(progress)
        if not record.speaks:
            return
        if progress.stage is Stage.ACTIVE and self._runs(record):
            self._finish(record.device, None)
        elif progress.stage is Stage.FAILED and not _tries_again(record):
            self._finish(record.device, _device_error(record))

    def _runs(self, record: DeviceRecord) -> bool:
        """A signed report has to name what was assigned among what is live; an unsigned state proves nothing anyway."""
        digest = self._assignments[record.device].manifest.digest
        return record.report is None or any(model.digest == digest for model in record.report.live.values())

    def _finish(self, device: str, error: NeoError | None) -> None:
        seconds = self._clock.monotonic() - self._begun
        progress = self._progress(device)
        self._outcomes[device] = Outcome(device, progress.stage, seconds, progress.done_bytes, error)
        self._watch(self._progress(device))

    def _progress(self, device: str) -> DeviceProgress:
        record = self._records[device]
        finished = device in self._outcomes
        state = record.told
        if state is None or state.assignment != self._assignments[device].id:
            return DeviceProgress(device, record, Stage.ASSIGNED, 0, 0, finished)
        return DeviceProgress(device, record, Stage(state.phase), state.done_bytes, state.total_bytes, finished)

    def _timeout(self, device: str, timeout_s: float) -> WaitTimeout:
        record, progress = self._records[device], self._progress(device)
        if record.trust in UNBELIEVED:
            said = "; ".join(record.problems)
        elif not record.online:
            seen = record.last_seen
            ago = "never seen" if seen is None else f"last seen {max(self._clock.unix() - seen, 0):.0f} s ago"
            said = f"it is offline ({ago})"
        elif progress.stage is Stage.ASSIGNED:
            said = "it is online but has not taken up the assignment"
        elif progress.stage is Stage.FAILED:
            said = f"it failed and tries again: {_device_error(record).message}"
        else:
            said = f"it last said: {progress.stage.value}, {progress.done_bytes} of {progress.total_bytes} bytes"
        return WaitTimeout(
            f"device {device} has not finished in {timeout_s:g} s; {said}",
            hint=f"the assignment stays and is carried out when the device can; look again with: neo status {device}",
        )


def _tries_again(record: DeviceRecord) -> bool:
    return record.report is not None and record.report.retry_at is not None


def _device_error(record: DeviceRecord) -> NeoError:
    told = record.told
    error = NeoError.from_json((told.error if told is not None else None) or {})
    message = error.message or "it failed without saying why"
    # a wrong key is the operator's to mend and has an exit code of its own, whoever finds it
    kind = TrustError if isinstance(error, TrustError) else DeviceError
    return kind(f"device {record.device}: {message}", hint=error.hint, details=error.to_json())

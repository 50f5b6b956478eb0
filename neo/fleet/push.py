"""Assign a bundle to devices, serve them what they miss, and follow them until it is live."""

from __future__ import annotations

import collections
import queue
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from neo.contract.device import mismatches
from neo.contract.fields import ContractError
from neo.contract.messages import Assignment, Presence
from neo.contract.oci import Descriptor
from neo.contract.topics import DEFAULT_FLEET, Topics
from neo.errors import DeviceError, NeoError, TrustError, WaitTimeout
from neo.fleet.inventory import CONNECT_S, DeviceRecord, collect, device_topics, fold
from neo.fleet.source import BlobSource, SourcePresence, source_id_of
from neo.link import SYSTEM_TLS, BrokerUrl, Connected, Event, Link, Message, Tls
from neo.store import Store
from neo.store.bundles import Bundle, find_bundle, signatures_of
from neo.trust.statement import SIGNATURE_TYPE

ALL_DEVICES = "all"
STALLED_S = 3.0  # another source says it is online, yet a device gets nowhere: serve it ourselves
POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class PushRequest:
    """devices: ids, or "all" for every device that was ever seen. wait: until it is live or has failed, timeout_s at
    most. force: also for a device that was never seen.
    """

    devices: tuple[str, ...]
    fleet: str = DEFAULT_FLEET
    timeout_s: float = 600.0
    wait: bool = True
    force: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """phase: the device's last one for this assignment, "assigned" if it has said nothing about it. error: None if
    the bundle is live there (or nobody waited).
    """

    device: str
    phase: str
    seconds: float
    transferred_bytes: int
    error: NeoError | None

    def to_json(self) -> dict[str, Any]:
        return {
            "device": self.device,
            "phase": self.phase,
            "seconds": round(self.seconds, 3),
            "transferred_bytes": self.transferred_bytes,
            "error": None if self.error is None else self.error.to_json(),
        }


@dataclass(frozen=True, slots=True)
class PushResult:
    reference: str
    digest: str
    outcomes: tuple[Outcome, ...]

    def to_json(self) -> dict[str, Any]:
        devices = [outcome.to_json() for outcome in self.outcomes]
        return {"reference": self.reference, "digest": self.digest, "devices": devices}

    def raise_failures(self) -> None:
        """Raises the error of a single failed device as it is; for several, one that names them all. Either carries
        the whole result in its details.
        """
        failed = [outcome for outcome in self.outcomes if outcome.error is not None]
        errors = [outcome.error for outcome in failed if outcome.error is not None]
        if not errors:
            return
        kind = type(errors[0]) if len({type(error) for error in errors}) == 1 else DeviceError
        message = "; ".join(error.message for error in errors)
        if len(self.outcomes) > 1:
            message = f"{len(failed)} of {len(self.outcomes)} devices failed: {message}"
        raise kind(message, hint=errors[0].hint, details=self.to_json()) from errors[0]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where one device is. record: all that is known of it. finished: live or failed."""

    device: str
    record: DeviceRecord
    phase: str
    done_bytes: int
    total_bytes: int
    finished: bool


Watcher = Callable[[Progress], None]


def push(
    bundle: Bundle | str,
    request: PushRequest,
    *,
    store: Store,
    url: BrokerUrl,
    tls: Tls = SYSTEM_TLS,
    watch: Watcher = lambda _: None,
) -> PushResult:
    """bundle: itself or a reference to find it by. watch: called whenever a device says something.

    Raises StoreError (no such bundle), TrustError (not signed), BrokerError, DeviceError (unknown, or the bundle does
    not fit it) before anything is assigned. What happens on a device afterwards is in the outcomes.
    """
    if isinstance(bundle, str):
        bundle = find_bundle(store, bundle)
    signature = _signature_of(bundle, store)
    topics = Topics(request.fleet)
    source_id = source_id_of(store)
    presence = SourcePresence.new(topics, source_id)
    inbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
    source = BlobSource(store, topics, source_id)
    named = [device for device in request.devices if device != ALL_DEVICES]
    subscriptions = [*device_topics(topics, *named), presence.topic, source.topic]
    client_id = f"neo-push-{secrets.token_hex(6)}"
    link = Link(url, client_id=client_id, subscriptions=subscriptions, inbox=inbox, tls=tls)
    link.connect(CONNECT_S)
    try:
        records, others = collect(inbox, topics)
        devices = choose_devices(bundle, request, records)
        reference, plain = bundle.manifest.reference, bundle.descriptor
        plain = Descriptor(plain.media_type, plain.digest, plain.size)  # its annotations are this store's business
        assignments = {
            device: Assignment(secrets.token_hex(8), reference, plain, signature, source_id, time.time())
            for device in devices
        }
        run = _Run(link, inbox, topics, assignments, records, source, presence.topic, watch)
        for message in others:
            run.take(message)
        run.assign()
        outcomes = run.follow(request.timeout_s) if request.wait else run.assigned()
    finally:
        link.stop()
    return PushResult(bundle.manifest.reference, bundle.descriptor.digest, outcomes)


def choose_devices(bundle: Bundle, request: PushRequest, records: Mapping[str, DeviceRecord]) -> tuple[str, ...]:
    """The ids to assign to, each once. Raises DeviceError for an unknown device or one that the bundle does not fit."""
    known = ", ".join(sorted(records))
    wanted = sorted(records) if ALL_DEVICES in request.devices else list(dict.fromkeys(request.devices))
    if not wanted:
        raise DeviceError(
            f"no device has connected in fleet {request.fleet!r} yet",
            hint="start one with: neo-agent --broker URL --device-id ID --state-dir DIR",
        )
    unknown = [device for device in wanted if device not in records]
    if unknown and not request.force:
        raise DeviceError(
            f"unknown device {', '.join(unknown)}",
            hint=(f"known are: {known}" if known else "no device has connected yet") + "; --force assigns all the same",
            details={"known": sorted(records)},
        )
    misfits = {device: reasons for device in wanted if (reasons := _reasons(bundle, records.get(device)))}
    if misfits:
        listed = "; ".join(f"{device}: {', '.join(reasons)}" for device, reasons in misfits.items())
        raise DeviceError(
            f"{bundle.manifest.reference} does not fit {listed}",
            hint="compile the model for that device: neo compile MODEL --target ...; neo targets lists them",
            details={"devices": {device: list(reasons) for device, reasons in misfits.items()}},
        )
    return tuple(wanted)


def _reasons(bundle: Bundle, record: DeviceRecord | None) -> tuple[str, ...]:
    if record is None or record.capabilities is None:
        return ()  # the device checks for itself
    manifest = bundle.manifest
    return mismatches(manifest.requires, manifest.engine, manifest.engine_version, record.capabilities)


def _signature_of(bundle: Bundle, store: Store) -> Descriptor:
    envelopes = signatures_of(store, bundle.descriptor.digest, SIGNATURE_TYPE)
    if not envelopes:
        reference = bundle.manifest.reference
        raise TrustError(
            f"{reference} is not signed, and devices take signed bundles only", hint=f"neo keys sign {reference}"
        )
    return envelopes[-1]


class _Run:
    """One push under way: what is assigned, what the devices say, and whether we serve the blobs."""

    def __init__(  # noqa: PLR0917 - private, called once
        self,
        link: Link,
        inbox: queue.SimpleQueue[Event],
        topics: Topics,
        assignments: Mapping[str, Assignment],
        records: Mapping[str, DeviceRecord],
        source: BlobSource,
        source_topic: str,
        watch: Watcher,
    ) -> None:
        self._link = link
        self._inbox = inbox
        self._topics = topics
        self._assignments = assignments
        self._records = {device: DeviceRecord(device) for device in assignments} | dict(records)
        self._source = source
        self._source_topic = source_topic
        self._watch = watch
        self._serving = True
        self._held: collections.deque[bytes] = collections.deque(maxlen=64)  # wants that we left to another source
        self._echoed: set[str] = set()
        self._outcomes: dict[str, Outcome] = {}
        self._started = time.monotonic()
        self._heard_at = dict.fromkeys(assignments, self._started)

    def assign(self) -> None:
        """Also again after a reconnection: a broker without a disk has forgotten it. The id makes it the same."""
        for device, assignment in self._assignments.items():
            if device not in self._outcomes:
                self._link.publish(self._topics.device(device, "assignment"), assignment.to_bytes(), retain=True)

    def assigned(self) -> tuple[Outcome, ...]:
        return tuple(Outcome(device, "assigned", 0.0, 0, None) for device in self._assignments)

    def follow(self, timeout_s: float) -> tuple[Outcome, ...]:
        for device in self._assignments:
            self._watch(self._progress(device))
        deadline = self._started + timeout_s
        more = False
        while len(self._outcomes) < len(self._assignments) and time.monotonic() < deadline:
            event: Event | None
            try:
                event = self._inbox.get(timeout=0.002 if more else POLL_S)
            except queue.Empty:
                event = None
            if isinstance(event, Connected):
                self.assign()
            elif isinstance(event, Message):
                self.take(event)
            if not self._serving and self._is_stalled():
                self._serve()
            more = self._source.send(self._link)
        for device in self._assignments:
            if device not in self._outcomes:
                self._finish(device, self._timeout(device, timeout_s))
        return tuple(self._outcomes[device] for device in self._assignments)

    def take(self, message: Message) -> None:
        place = self._topics.device_of(message.topic)
        if message.topic == self._source.topic:
            if self._serving:
                self._source.accept(message.payload)
            else:
                self._held.append(message.payload)
        elif message.topic == self._source_topic:
            if not _is_online(message.payload):
                self._serve()
            elif message.retained:
                self._serving = False
        elif place is not None:
            self._records = fold(self._records, self._topics, message)
            device, leaf = place
            if device in self._assignments and device not in self._outcomes:
                (self._see_assignment if leaf == "assignment" else self._hear)(device)

    def _see_assignment(self, device: str) -> None:
        """Ours comes back from the broker first. Another one after it is somebody else's."""
        current = self._records[device].assignment
        if current is not None and current.id == self._assignments[device].id:
            self._echoed.add(device)
        elif device in self._echoed:
            what = "was withdrawn" if current is None else f"was replaced by {current.reference}"
            error = DeviceError(
                f"device {device}: the assignment {what}", hint="somebody else pushes to this device too"
            )
            self._finish(device, error)

    def _hear(self, device: str) -> None:
        """A device has said something: is it done?"""
        self._heard_at[device] = time.monotonic()
        self._watch(self._progress(device))
        record = self._records[device]
        if self._phase(device) == "active" and record.speaks:
            self._finish(device, None)
        elif self._phase(device) == "failed" and record.speaks:
            self._finish(device, _device_error(record))

    def _finish(self, device: str, error: NeoError | None) -> None:
        seconds = time.monotonic() - self._started
        progress = self._progress(device)
        self._outcomes[device] = Outcome(device, progress.phase, seconds, progress.done_bytes, error)
        self._watch(self._progress(device))

    def _is_stalled(self) -> bool:
        """A source that went away without a last will still looks online."""
        now = time.monotonic()
        return any(
            now - heard_at > STALLED_S and self._records[device].online and device not in self._outcomes
            for device, heard_at in self._heard_at.items()
        )

    def _serve(self) -> None:
        self._serving = True
        while self._held:
            self._source.accept(self._held.popleft())

    def _phase(self, device: str) -> str:
        state = self._records[device].state
        return state.phase if state is not None and state.assignment == self._assignments[device].id else "assigned"

    def _progress(self, device: str) -> Progress:
        record = self._records[device]
        phase = self._phase(device)
        state = record.state if phase != "assigned" else None
        done, total = (state.done_bytes, state.total_bytes) if state is not None else (0, 0)
        return Progress(device, record, phase, done, total, device in self._outcomes)

    def _timeout(self, device: str, timeout_s: float) -> WaitTimeout:
        record, progress = self._records[device], self._progress(device)
        if not record.online:
            seen = record.last_seen
            ago = "never seen" if seen is None else f"last seen {max(time.time() - seen, 0):.0f} s ago"
            said = f"it is offline ({ago})"
        elif progress.phase == "assigned":
            said = "it is online but has not taken up the assignment"
        else:
            said = f"it last said: {progress.phase}, {progress.done_bytes} of {progress.total_bytes} bytes"
        return WaitTimeout(
            f"device {device} has not finished in {timeout_s:g} s; {said}",
            hint=f"the assignment stays and is carried out when the device can; look again with: neo status {device}",
        )


def _device_error(record: DeviceRecord) -> NeoError:
    error = NeoError.from_json((record.state.error if record.state is not None else None) or {})
    message = error.message or "it failed without saying why"
    # a wrong key is the operator's to mend and has an exit code of its own, whoever finds it
    kind = TrustError if isinstance(error, TrustError) else DeviceError
    return kind(f"device {record.device}: {message}", hint=error.hint, details=error.to_json())


def _is_online(payload: bytes) -> bool:
    try:
        return Presence.from_bytes(payload).online
    except ContractError:
        return False

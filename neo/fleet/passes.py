"""What goes out next, of what many devices miss. Fed with what they say and the time (monotonic, s); sends nothing.

A *pass* over a blob sends every chunk that is missed once: on the topic that all share if several miss it, otherwise on
the topic of the one. Then it is asked who misses what still, and the next pass begins with the answers. What devices
say is exact: they name the last number they saw, and what was sent to them after it may still be on its way.
"""

from __future__ import annotations

import collections
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from neo.contract.chunks import chunk_count, chunk_span
from neo.contract.messages import Missing
from neo.fleet.budget import Budget

# chunks sent to a device and not reported: less than it keeps in memory for a slow disk; a broker holds as many for
# each of many devices
WINDOW, WINDOW_OF_MANY, MANY = 12, 6, 50
LAG_S = 1.0  # the others wait so long for a device that does not keep up
LOST_S = 1.5  # what was sent before that, and not seen by a device that gets nothing new, is lost
USUAL = 4  # both at least this many times what devices need to report a chunk
MAX_USUAL_S = 15.0
GATHER_S = 1.5  # how long answers are waited for after a pass
ASK_S = 0.3  # between the questions, which may be lost, too
FORGET_S = 60.0  # a device that wants something says so every 15 s
MAX_DEVICES = 20_000
# others that come at the same time are waited for as long as sending takes at this rate, within bounds
JOIN_BYTES_PER_S = 10e6
MIN_JOIN_S, MAX_JOIN_S = 0.03, 0.3
MAX_JOINS = 10  # times the above, if more and more come
RECENT_S, COMING_S = 5.0, 1.0


@dataclass(frozen=True, slots=True)
class Blob:
    size: int
    #: of the largest bundle that it is part of
    bundle_bytes: int


@dataclass(frozen=True, slots=True)
class Sending:
    """One message to be published. asks: a question instead of a chunk."""

    digest: str
    index: int
    sequence: int
    #: "" for all who share the blob's topic
    device: str
    asks: bool = False


@dataclass(slots=True)
class _Device:
    id: str
    #: the number of what was sent last when it was first heard
    first: int
    seen: int = 0
    heard_at: float = 0.0
    #: digest -> a bit for every chunk that it misses and that is not on its way to it
    missing: dict[str, int] = field(default_factory=dict)
    #: (sequence, digest, index, time) of what was sent to it and not reported, oldest first
    under_way: collections.deque[tuple[int, str, int, float]] = field(
        default_factory=lambda: collections.deque(maxlen=4 * WINDOW)
    )
    full_since: float = 0.0

    @property
    def receives(self) -> bool:
        """It has named a number that was sent after it came: nobody who does not listen knows it."""
        return self.seen > self.first


@dataclass(slots=True)
class _Spread:
    """One blob that is wanted."""

    digest: str
    blob: Blob
    wanting: dict[str, _Device] = field(default_factory=dict)
    #: a bit for every chunk that this pass has still to send
    pending: int = 0
    in_pass: bool = False
    #: of the last pass
    last_sequence: int = 0
    ended_at: float = -GATHER_S
    asked_at: float = 0.0
    #: whose answer to the last pass is not here
    unheard: set[str] = field(default_factory=set)
    #: when the first and the newest device came since the last pass began
    first_at: float = 0.0
    newest_at: float = 0.0
    has_newcomers: bool = False

    @property
    def demand(self) -> int:
        bits = 0
        for device in self.wanting.values():
            bits |= device.missing.get(self.digest, 0)
        return bits


class Passes:
    """find: digest -> the blob, None if it is not served."""

    def __init__(self, find: Callable[[str], Blob | None], budget: Budget) -> None:
        self._find = find
        self._budget = budget
        self._devices: collections.OrderedDict[str, _Device] = collections.OrderedDict()
        self._spreads: collections.OrderedDict[str, _Spread] = collections.OrderedDict()
        # rises over restarts, and nobody can guess it who does not receive anything
        self._sequence = int(time.time()) << 31 | secrets.randbelow(1 << 30)
        self._usual_s = 0.0  # between a chunk and the report that it came
        self.refused = 0  #: chunks that nobody who missed them had a budget for

    @property
    def has_work(self) -> bool:
        """Is something wanted that was not sent?"""
        return any(spread.pending or spread.demand for spread in self._spreads.values())

    def hears(self, device_id: str, now: float) -> bool:
        """Has the device spoken lately?"""
        device = self._devices.get(device_id)
        return device is not None and now - device.heard_at < FORGET_S

    def accept(self, message: Missing, now: float) -> list[str]:
        """A device says what it misses. -> digests of what is not served."""
        device = self._device(message.device_id, now)
        progressed = device.first < message.seen <= self._sequence and message.seen > device.seen
        if progressed:
            device.seen = message.seen
        coming = self._coming(device, now, progressed=progressed)
        missing: dict[str, int] = {}
        absent = []
        for entry in message.blobs:
            blob = self._find(entry.digest)
            if blob is None:
                absent.append(entry.digest)
            else:
                missing[entry.digest] = bits_of(entry.runs, chunk_count(blob.size)) & ~coming.get(entry.digest, 0)
                self._join(entry.digest, blob, device, now)
        for digest in device.missing.keys() - missing.keys():
            self._leave(digest, device)
        device.missing = missing
        for digest in missing:
            spread = self._spreads[digest]
            if device.seen >= spread.last_sequence:
                spread.unheard.discard(device.id)
        return absent

    def next(self, now: float) -> Sending | None:
        """What to send now; None if nothing is wanted, or if answers or slow devices are waited for."""
        for _ in range(len(self._spreads)):
            digest, spread = self._spreads.popitem(last=False)
            self._forget_silent(spread, now)
            if not spread.wanting:
                continue
            self._spreads[digest] = spread  # the others first, then this one again
            sending = self._next_of(spread, now)
            if sending is not None:
                return sending
        return None

    def _next_of(self, spread: _Spread, now: float) -> Sending | None:
        if not spread.in_pass:
            if self._may_begin(spread, now):
                spread.pending, spread.in_pass, spread.has_newcomers = spread.demand, True, False
            elif spread.unheard and now - spread.asked_at >= ASK_S and now - spread.ended_at < GATHER_S:
                return self._ask(spread, now)
            else:
                return None
        while spread.pending:
            index = (spread.pending & -spread.pending).bit_length() - 1
            bit = 1 << index
            devices = [device for device in spread.wanting.values() if device.missing.get(spread.digest, 0) & bit]
            if devices and self._must_wait(devices, now):
                return None
            spread.pending ^= bit
            size = chunk_span(index, spread.blob.size)[1]
            if devices and self._is_paid(devices, size, spread.blob, now):
                return self._send(spread, index, devices, now)
            for device in devices:  # they ask again
                device.missing[spread.digest] &= ~bit
                self.refused += 1
        spread.in_pass = False
        spread.last_sequence, spread.ended_at = self._sequence, now
        spread.unheard = set(spread.wanting)
        return self._ask(spread, now)

    def _may_begin(self, spread: _Spread, now: float) -> bool:
        demand = spread.demand
        if not demand or (spread.unheard and now - spread.ended_at < GATHER_S):
            return False
        if not spread.has_newcomers or self._is_alone(now):
            return True
        seconds = demand.bit_count() * chunk_span(0, spread.blob.size)[1] / JOIN_BYTES_PER_S
        patience = min(max(seconds, MIN_JOIN_S), MAX_JOIN_S)
        if now - spread.first_at >= MAX_JOINS * patience:
            return True
        return now - spread.newest_at >= patience and (seconds < MIN_JOIN_S or not self._others_come(spread, now))

    def _others_come(self, spread: _Spread, now: float) -> bool:
        """Are there devices that fetch something else, as the documents that come before a bundle's files?"""
        return any(
            device.missing and spread.digest not in device.missing and now - device.heard_at < COMING_S
            for device in self._devices.values()
        )

    def _is_alone(self, now: float) -> bool:
        """Was only one device heard lately?"""
        return sum(now - device.heard_at < RECENT_S for device in _newest(self._devices)) < 2

    def _ask(self, spread: _Spread, now: float) -> Sending:
        spread.asked_at = now
        device = next(iter(spread.wanting)) if len(spread.wanting) == 1 else ""
        return Sending(spread.digest, 0, self._number(), device, asks=True)

    def _send(self, spread: _Spread, index: int, devices: Sequence[_Device], now: float) -> Sending:
        number = self._number()
        window = _window_of(devices)
        for device in devices:
            device.missing[spread.digest] &= ~(1 << index)
            device.under_way.append((number, spread.digest, index, now))
            if len(device.under_way) == window:
                device.full_since = now
        return Sending(spread.digest, index, number, devices[0].id if len(devices) == 1 else "")

    def _must_wait(self, devices: Sequence[_Device], now: float) -> bool:
        """The slow ones set the pace, up to a point; when all are full, one of them has to say something first."""
        window = _window_of(devices)
        full = [device for device in devices if len(device.under_way) >= window]
        patience = max(LAG_S, USUAL * self._usual_s)
        return bool(full) and (len(full) == len(devices) or any(now - one.full_since < patience for one in full))

    def _is_paid(self, devices: Sequence[_Device], size: int, blob: Blob, now: float) -> bool:
        tried_strangers = False
        for device in devices:
            if not device.receives and tried_strangers:
                continue
            if self._budget.take(device.id if device.receives else "", size, blob.bundle_bytes, now):
                return True
            tried_strangers = tried_strangers or not device.receives
        return False

    def _number(self) -> int:
        self._sequence += 1
        return self._sequence

    def _device(self, device_id: str, now: float) -> _Device:
        device = self._devices.pop(device_id, None) or _Device(device_id, self._sequence)
        while len(self._devices) >= MAX_DEVICES:
            _, oldest = self._devices.popitem(last=False)
            for digest in oldest.missing:
                self._leave(digest, oldest)
        self._devices[device_id] = device  # the one heard last at the end
        device.heard_at = now
        return device

    def _coming(self, device: _Device, now: float, *, progressed: bool) -> Mapping[str, int]:
        """Digest -> the chunks that may be on their way to the device."""
        way = device.under_way
        lost_s = max(LOST_S, USUAL * self._usual_s)
        while way and (way[0][0] <= device.seen or (not progressed and now - way[0][3] > lost_s)):
            number, _, _, sent_at = way.popleft()
            if number == device.seen:
                self._usual_s += (min(now - sent_at, MAX_USUAL_S) - self._usual_s) / USUAL
        coming: dict[str, int] = {}
        for _, digest, index, _ in way:
            coming[digest] = coming.get(digest, 0) | 1 << index
        return coming

    def _join(self, digest: str, blob: Blob, device: _Device, now: float) -> None:
        spread = self._spreads.get(digest)
        if spread is None:
            spread = self._spreads[digest] = _Spread(digest, blob)
        if device.id not in spread.wanting:
            spread.wanting[device.id] = device
            if not spread.has_newcomers:
                spread.first_at = now
            spread.newest_at, spread.has_newcomers = now, True
            if spread.in_pass and len(spread.wanting) == 2:  # begun for one; now others may come, too
                spread.in_pass, spread.pending = False, 0

    def _leave(self, digest: str, device: _Device) -> None:
        spread = self._spreads.get(digest)
        if spread is not None:
            spread.wanting.pop(device.id, None)
            spread.unheard.discard(device.id)

    def _forget_silent(self, spread: _Spread, now: float) -> None:
        """Once in a while: it looks at every device."""
        if spread.in_pass and spread.pending:
            return
        for device in [device for device in spread.wanting.values() if now - device.heard_at > FORGET_S]:
            device.missing.pop(spread.digest, None)
            self._leave(spread.digest, device)


def bits_of(runs: Sequence[tuple[int, int]], count: int) -> int:
    """A bit for every chunk of the runs; what is beyond count does not count."""
    bits = 0
    for first, length in runs:
        end = min(first + length, count)
        if end > first:
            bits |= ((1 << (end - first)) - 1) << first
    return bits


def _window_of(devices: Sequence[_Device]) -> int:
    return WINDOW if len(devices) < MANY else WINDOW_OF_MANY


def _newest(devices: collections.OrderedDict[str, _Device]) -> Iterator[_Device]:
    """The two that were heard last."""
    for device_id, _ in zip(reversed(devices), range(2), strict=False):
        yield devices[device_id]

"""What devices of wire 1 want: byte ranges, each answered on a topic of the device's own. Sends nothing."""

from __future__ import annotations

import collections
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from neo.contract.chunks import CHUNK_BYTES
from neo.contract.messages import Want
from neo.fleet.budget import Budget
from neo.fleet.passes import Blob
from neo.fleet.tally import Tally

MAX_WANTS = 64  # of one device at a time; what is beyond is asked for again
MAX_DEVICES = 4096  # that wait at a time
MAX_KNOWN = 256  # that have a budget of their own
FORGET_S = 30.0


@dataclass(slots=True)
class _Known:
    """What was sent to a device. ends: blob -> where that ends."""

    heard_at: float
    ends: dict[str, int] = field(default_factory=dict)
    receives: bool = False


class SingleWants:
    """find: digest -> the blob, None if it is not served."""

    def __init__(self, find: Callable[[str], Blob | None], budget: Budget) -> None:
        self._find = find
        self._budget = budget
        self._wants: collections.OrderedDict[str, collections.deque[Want]] = collections.OrderedDict()
        self._known: collections.OrderedDict[str, _Known] = collections.OrderedDict()
        self._dropped = Tally("wants for chunks")

    @property
    def has_work(self) -> bool:
        return bool(self._wants)

    def accept(self, want: Want, now: float) -> None:
        wants = self._wants.get(want.device_id)
        if wants is None:
            if len(self._wants) >= MAX_DEVICES:
                self._dropped.count(want.device_id, "too many devices want something at a time")
                return
            wants = self._wants[want.device_id] = collections.deque()
        if len(wants) >= MAX_WANTS:
            self._dropped.count(want.device_id, f"more than {MAX_WANTS} at a time")
        elif want not in wants:
            wants.append(want)
        known = self._known.get(want.device_id)
        if known is not None:
            known.heard_at = now
            # it goes on behind what was sent to it, or with another blob: then it has received something
            known.receives = known.receives or want.offset >= known.ends.get(want.digest, 0)

    def next(self, now: float) -> Want | None:
        """The next chunk, as the part of a want that it answers; device after device. None if there is none.

        Wants that the device has no budget for are dropped: it asks again.
        """
        while self._wants:
            device, wants = self._wants.popitem(last=False)
            want = wants.popleft()
            part = replace(want, length=min(want.length, CHUNK_BYTES))
            blob = self._find(want.digest)
            if blob is not None and min(want.length, blob.size - want.offset) > CHUNK_BYTES:
                wants.appendleft(replace(want, offset=want.offset + CHUNK_BYTES, length=want.length - CHUNK_BYTES))
            if blob is not None and not self._is_paid(device, part, blob, now):
                self._dropped.count(device, "more than twice the bundle in a minute")
                continue
            if wants:
                self._wants[device] = wants
            return part
        return None

    def _is_paid(self, device: str, part: Want, blob: Blob, now: float) -> bool:
        known = self._known.pop(device, None)
        if known is None or now - known.heard_at > FORGET_S:
            known = _Known(now)
        payer = device if known.receives else ""
        if not self._budget.take(payer, min(part.length, max(blob.size - part.offset, 1)), blob.bundle_bytes, now):
            return False
        known.ends[part.digest] = part.offset + part.length
        self._known[device] = known
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return True

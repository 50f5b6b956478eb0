"""How much a source sends at most, whatever it is asked. Fed with the time (s); does nothing."""

from __future__ import annotations

import collections

MINUTE_S = 60.0
#: times the bundle that one device may have in a minute: once, and once more for what is lost
PER_DEVICE = 2
#: of a small bundle, whose versions may follow each other in seconds
LEAST_BYTES = 1 << 20
#: the same for strangers together: the first kilobytes for some thousands of them
LEAST_SHARED_BYTES = 4 << 20
MAX_DEVICES = 20_000


class Bucket:
    """Holds at most capacity bytes, full at the start, and gains per_s of them each second."""

    def __init__(self, capacity: float, per_s: float, now: float) -> None:
        self._capacity = capacity
        self._per_s = per_s
        self._level = capacity
        self._at = now

    def level(self, now: float) -> float:
        self._level = min(self._capacity, self._level + max(now - self._at, 0.0) * self._per_s)
        self._at = now
        return self._level

    def take(self, size: float, now: float) -> bool:
        """False, and nothing is taken, if there is not that much."""
        if self.level(now) < size:
            return False
        self._level -= size
        return True


class Budget:
    """Bytes that may be sent because of a device, within a minute and of one bundle: twice the bundle, and no less
    than LEAST_BYTES.

    Ids cost nothing, so those that have not shown that they receive what is sent to them have one share together, of no
    less than LEAST_SHARED_BYTES.
    """

    def __init__(self) -> None:
        self._buckets: collections.OrderedDict[tuple[str, int], Bucket] = collections.OrderedDict()

    def take(self, device: str, size: int, bundle_bytes: int, now: float) -> bool:
        """device: its id, "" for all that have shown nothing. bundle_bytes: size of the bundle the bytes are part of.

        False if nothing is left for now.
        """
        key = device, bundle_bytes
        bucket = self._buckets.pop(key, None)
        if bucket is None:
            capacity = max(PER_DEVICE * bundle_bytes, LEAST_BYTES if device else LEAST_SHARED_BYTES)
            bucket = Bucket(capacity, capacity / MINUTE_S, now)
            while len(self._buckets) >= MAX_DEVICES:
                self._buckets.popitem(last=False)
        self._buckets[key] = bucket  # the least used first
        return bucket.take(size, now)

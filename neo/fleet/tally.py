"""Counting what is dropped, by whom it came in the name of. A flood of it does not fill the log."""

from __future__ import annotations

import collections
import logging

log = logging.getLogger(__name__)

MAX_NAMES = 1000  # strangers can make up names


class Tally:
    """what: the things that are counted, in the plural."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._by_name: collections.Counter[str] = collections.Counter()
        self.total = 0

    def count(self, name: str, reason: str) -> None:
        """Logged when the total is a power of two."""
        self.total += 1
        if name in self._by_name or len(self._by_name) < MAX_NAMES:
            self._by_name[name] += 1
        if self.total.bit_count() == 1:
            (most, times), *_ = self._by_name.most_common(1)
            log.warning(
                "dropped %s: %d so far, %d of them in the name of %.80s; the last one: %.300s",
                *(self._what, self.total, times, most, reason),
            )

"""A ``Fetch`` whose disk work is done in the disk's thread, while chunks and the time come in the event loop's."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge_agent.install.asking import Ask
from edge_agent.install.fetch import Fetch, FetchRules
from edge_agent.tasks import Tasks
from neo.contract.messages import Assignment, Chunk, NumberedChunk
from neo.errors import NeoError
from neo.store import Store
from neo.store.bundles import Bundle

TICK_S = 0.1  # between rounds that only look at the time


@dataclass(frozen=True, slots=True)
class FetchState:
    """What the event loop learns of a fetch after each round of disk work."""

    #: to be sent to the source
    wants: Sequence[Ask]
    #: (done, total) bytes of the bundle's files
    progress: tuple[int, int]
    #: digests of blobs that chunks may come of
    expected: frozenset[str]
    #: the bundle and its signed statement, once everything is in the store
    result: tuple[Bundle, bytes] | None


class Download:
    """One round of disk work at a time is in the disk's thread. Chunks that come meanwhile wait for the next round, up
    to a bound: what a slow disk has no room for is dropped, and asked for again.

    on_state: called in the event loop with (state, None) or (None, why the fetch failed); never after ``close``.
    """

    def __init__(
        self,
        assignment: Assignment,
        store: Store,
        rules: FetchRules,
        disk: Tasks,
        on_state: Callable[[FetchState | None, NeoError | None], None],
    ) -> None:
        self.assignment = assignment
        self.progress = (0, 0)
        self._store = store
        self._rules = rules
        self._disk = disk
        self._on_state = on_state
        self._fetch: Fetch | None = None  # the disk's thread alone touches it
        self._expected: frozenset[str] = frozenset()
        self._chunks: list[Chunk | NumberedChunk] = []
        self._waiting_bytes = 0
        self._reconnected = False
        self._busy = False
        self._closed = False
        self._began_at = -math.inf

    def take(self, chunk: Chunk | NumberedChunk, now: float) -> None:
        if chunk.digest not in self._expected:
            return
        if self._waiting_bytes + len(chunk.data) > self._rules.limits.window_bytes:
            return
        self._chunks.append(chunk)
        self._waiting_bytes += len(chunk.data)
        self.advance(now)

    def reconnected(self, now: float) -> None:
        self._reconnected = True
        self.advance(now)

    def tick(self, now: float) -> None:
        """Ask again for what did not come."""
        if now - self._began_at >= TICK_S:
            self.advance(now)

    def advance(self, now: float) -> None:
        """Begin the next round, unless one is under way: it is followed by another if there is need of one."""
        if self._busy or self._closed:
            return
        self._busy, self._began_at = True, now
        chunks, self._chunks, self._waiting_bytes = self._chunks, [], 0
        reconnected, self._reconnected = self._reconnected, False
        self._disk.submit(
            lambda: self._round(chunks, now, reconnected=reconnected),
            lambda state, error: self._round_done(state, error, now),
        )

    def close(self) -> None:
        """Nothing of it is on its way to the disk any more when the disk's next task begins."""
        self._closed = True
        self._disk.submit(self._close)

    def _round(self, chunks: Sequence[Chunk | NumberedChunk], now: float, *, reconnected: bool) -> FetchState:
        fetch = self._fetch
        if fetch is None:
            fetch = self._fetch = Fetch(self.assignment, self._store, self._rules, now)
        if reconnected:
            fetch.reconnected(now)
        for chunk in chunks:
            fetch.take(chunk, now)
        wants = fetch.wants(now)
        return FetchState(wants, fetch.progress, fetch.expected, fetch.result)

    def _round_done(self, state: FetchState | None, error: NeoError | None, now: float) -> None:
        self._busy = False
        if self._closed:
            return
        if state is not None:
            self.progress, self._expected = state.progress, state.expected
        self._on_state(state, error)
        if self._chunks or self._reconnected:
            self.advance(now)

    def _close(self) -> None:
        if self._fetch is not None:
            self._fetch.close()

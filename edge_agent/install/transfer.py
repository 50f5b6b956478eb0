"""Blobs in chunks over a link that loses, repeats and reorders: what to ask for, and where the bytes go.

No I/O but the store's: chunks and the time come in, wants go out. Only what was asked for is ever taken, so the
memory for chunks that come too early is bounded by the window.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from neo.contract.messages import Chunk, Want
from neo.contract.oci import Descriptor
from neo.errors import StoreError, TransferError
from neo.store import Ingest, Store

logger = logging.getLogger(__name__)

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class TransferLimits:
    """window_bytes: asked for and not yet written. open_blobs: files open at a time. ask_again_s doubles with every
    unanswered want up to ask_again_cap_s. give_up_s: a connected link without one useful byte.
    """

    window_bytes: int = 1_500_000
    open_blobs: int = 16
    ask_again_s: float = 2.0
    ask_again_cap_s: float = 15.0
    give_up_s: float = 60.0


def missing_blobs(blobs: Iterable[Descriptor], store: Store) -> tuple[Descriptor, ...]:
    """Those that the store lacks, each once, in order."""
    return tuple({blob.digest: blob for blob in blobs if not store.has(blob.digest)}.values())


def gaps(start: int, end: int, early: Mapping[int, bytes]) -> tuple[Span, ...]:
    """The (offset, length) spans between start and end that no early chunk (by offset) covers."""
    spans = []
    for offset in sorted(early):
        if offset > start:
            spans.append((start, min(offset, end) - start))
        start = max(start, offset + len(early[offset]))
    if start < end:
        spans.append((start, end - start))
    return tuple(span for span in spans if span[1] > 0)


@dataclass(slots=True)
class _Incoming:
    """One blob under way. asked: the end of what was asked for. early: chunks beyond the ingest's offset."""

    ingest: Ingest
    asked: int
    progress_at: float
    ask_again_s: float
    early: dict[int, bytes] = field(default_factory=dict)

    @property
    def outstanding(self) -> int:
        return self.asked - self.ingest.offset

    @property
    def early_bytes(self) -> int:
        return sum(map(len, self.early.values()))


class Transfer:
    """Fetch blobs into the store. ``wants`` returns what to publish now; ``done`` says that every blob is committed.

    Raises TransferError if the source lacks a blob, sends wrong bytes or nothing at all; DiskFull and StoreError as
    the store does. What was written stays, and the next Transfer goes on from there.
    """

    def __init__(
        self, device_id: str, blobs: Sequence[Descriptor], store: Store, now: float, limits: TransferLimits
    ) -> None:
        self._device_id = device_id
        self._store = store
        self._limits = limits
        self._waiting = list(reversed(missing_blobs(blobs, store)))
        self._incoming: dict[str, _Incoming] = {}
        self._useful_at = now
        self.total_bytes = sum({blob.digest: blob.size for blob in blobs}.values())
        self._committed_bytes = self.total_bytes - sum(blob.size for blob in self._waiting)

    @property
    def done(self) -> bool:
        return not self._waiting and not self._incoming

    @property
    def done_bytes(self) -> int:
        return self._committed_bytes + sum(blob.ingest.offset for blob in self._incoming.values())

    @property
    def buffered_bytes(self) -> int:
        """Held in memory because an earlier chunk is missing; never more than the window."""
        return sum(blob.early_bytes for blob in self._incoming.values())

    @property
    def expected(self) -> frozenset[str]:
        """Digests of the blobs under way."""
        return frozenset(self._incoming)

    def take(self, chunk: Chunk, now: float) -> None:
        """A chunk has come. One that was not asked for is ignored."""
        blob = self._incoming.get(chunk.digest)
        if blob is None:
            return
        if chunk.absent:
            raise TransferError(
                f"the source does not have blob {chunk.digest}", hint="push the bundle again: neo push REF --to DEVICE"
            )
        before = blob.ingest.offset
        self._place(blob, chunk)
        if blob.ingest.offset > before:
            blob.progress_at = self._useful_at = now
            blob.ask_again_s = self._limits.ask_again_s
        if blob.ingest.offset == blob.ingest.size:
            self._commit(blob)

    def wants(self, now: float) -> list[Want]:
        """What to ask for at this time: again what did not come, then more, as far as the window allows."""
        if self.done:
            return []
        if now - self._useful_at > self._limits.give_up_s:
            raise TransferError(
                f"the source has sent nothing useful for {self._limits.give_up_s:.0f} s",
                hint="keep a source running: neo broker, or neo push without --no-wait",
            )
        again = [want for blob in self._incoming.values() for want in self._ask_again(blob, now)]
        return again + self._ask_more(now)

    def reconnected(self, now: float) -> None:
        """Chunks under way are lost: what is missing is asked for again at the next ``wants``."""
        self._useful_at = now
        for blob in self._incoming.values():
            blob.ask_again_s = self._limits.ask_again_s
            blob.progress_at = now - self._limits.ask_again_s

    def close(self, *, keep: bool = True) -> None:
        """keep: leave the files as they are; the next Transfer resumes."""
        for blob in self._incoming.values():
            try:
                (blob.ingest.close if keep else blob.ingest.discard)()
            except StoreError as error:
                logger.warning("the last bytes of %s are lost and fetched again: %s", blob.ingest.digest, error)
        self._incoming.clear()

    def _place(self, blob: _Incoming, chunk: Chunk) -> None:
        end = chunk.offset + len(chunk.data)
        if end > blob.asked:
            return
        if chunk.offset > blob.ingest.offset:
            if blob.early_bytes + len(chunk.data) <= blob.outstanding:
                blob.early.setdefault(chunk.offset, chunk.data)
            return
        _append(blob.ingest, chunk.offset, chunk.data)
        while early := [offset for offset in blob.early if offset <= blob.ingest.offset]:
            _append(blob.ingest, min(early), blob.early.pop(min(early)))

    def _commit(self, blob: _Incoming) -> None:
        del self._incoming[blob.ingest.digest]
        try:
            blob.ingest.commit()
        except StoreError as error:
            if type(error) is not StoreError:  # DiskFull says what to do itself
                raise
            raise TransferError(f"the source sent wrong bytes: {error.message}") from error
        finally:
            blob.ingest.close()
        self._committed_bytes += blob.ingest.size

    def _ask_again(self, blob: _Incoming, now: float) -> list[Want]:
        if now - blob.progress_at < blob.ask_again_s:
            return []
        blob.progress_at = now
        blob.ask_again_s = min(2 * blob.ask_again_s, self._limits.ask_again_cap_s)
        spans = gaps(blob.ingest.offset, blob.asked, blob.early)
        return [Want(self._device_id, blob.ingest.digest, offset, length) for offset, length in spans]

    def _ask_more(self, now: float) -> list[Want]:
        wants = []
        room = self._limits.window_bytes - sum(blob.outstanding for blob in self._incoming.values())
        if room < self._limits.window_bytes // 3:  # a few large wants, not one for every chunk that came
            return []
        while room > 0 and (blob := self._next_blob(now)) is not None:
            length = min(room, blob.ingest.size - blob.asked)
            wants.append(Want(self._device_id, blob.ingest.digest, blob.asked, length))
            if blob.outstanding == 0:
                blob.progress_at = now
            blob.asked += length
            room -= length
        return wants

    def _next_blob(self, now: float) -> _Incoming | None:
        """The first blob that has something left to ask for; whole blobs that need no asking are committed."""
        for blob in self._incoming.values():
            if blob.asked < blob.ingest.size:
                return blob
        while self._waiting and len(self._incoming) < self._limits.open_blobs:
            descriptor = self._waiting.pop()
            ingest = self._store.ingest(descriptor.digest, descriptor.size)
            blob = _Incoming(ingest, ingest.offset, now, self._limits.ask_again_s)
            self._incoming[descriptor.digest] = blob
            if ingest.offset < ingest.size:
                return blob
            self._commit(blob)
        return None


def _append(ingest: Ingest, offset: int, data: bytes) -> None:
    """Write what of data lies beyond the ingest's offset; offset is not beyond it."""
    skip = ingest.offset - offset
    if skip < len(data):
        ingest.write(memoryview(data)[skip:])

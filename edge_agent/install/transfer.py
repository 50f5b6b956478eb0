"""Blobs in chunks over a link that loses, repeats, reorders and forges: what to ask for, and where the bytes go.

No I/O but the store's: chunks and the time come in, wants go out. What is wrong is dropped when it comes and costs one
chunk; nothing that a stranger can send ends a transfer by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from edge_agent.install.incoming import Incoming, Taken, open_incoming
from neo.contract.chunks import CHUNK_BYTES, chunk_span
from neo.contract.messages import Chunk, Want
from neo.contract.oci import Descriptor
from neo.errors import StoreError, TransferError
from neo.store import Store

logger = logging.getLogger(__name__)

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class TransferLimits:
    """How much is under way, and how patient a transfer is. Times in s."""

    #: asked for and not yet written
    window_bytes: int = 1_500_000
    #: files open at a time
    open_blobs: int = 16
    #: doubles with every unanswered want
    ask_again_s: float = 2.0
    ask_again_cap_s: float = 15.0
    #: a connected link without one useful byte
    give_up_s: float = 60.0
    #: wants in a row for one blob that are answered with "absent" before it is believed
    believe_absent: int = 3
    #: times that a blob without a chunk table may turn out wrong at its end
    wrong_blobs: int = 3


def missing_blobs(blobs: Iterable[Descriptor], store: Store) -> tuple[Descriptor, ...]:
    """Those that the store lacks, each once, in order."""
    return tuple({blob.digest: blob for blob in blobs if not store.has(blob.digest)}.values())


def spans_of(indices: Iterable[int], size: int) -> tuple[Span, ...]:
    """The (offset, length) that these chunks of a blob cover, neighbours joined. indices: rising."""
    spans: list[Span] = []
    for index in indices:
        offset, length = chunk_span(index, size)
        if spans and sum(spans[-1]) == offset:
            spans[-1] = (spans[-1][0], spans[-1][1] + length)
        else:
            spans.append((offset, length))
    return tuple(spans)


@dataclass(slots=True)
class _Blob:
    """One blob under way. asked: chunks asked for and not here."""

    descriptor: Descriptor
    incoming: Incoming
    progress_at: float
    ask_again_s: float
    asked: set[int] = field(default_factory=set)
    asks: int = 0
    #: the asks in a row that were answered with "absent"
    absent: set[int] = field(default_factory=set)

    @property
    def outstanding(self) -> int:
        return sum(chunk_span(index, self.incoming.size)[1] for index in self.asked)


class Transfer:
    """Fetch blobs into the store. ``wants`` returns what to publish now; ``done`` says that every blob is committed.

    tables: digest of a blob -> the sha256 of its chunks, for those that have a table. Raises TransferError if the
    source lacks a blob, sends nothing, or nothing right; DiskFull and StoreError as the store does. What was written
    stays, and the next Transfer goes on from there.
    """

    def __init__(
        self,
        device_id: str,
        blobs: Sequence[Descriptor],
        store: Store,
        now: float,
        limits: TransferLimits,
        *,
        tables: Mapping[str, Sequence[bytes]] = MappingProxyType({}),
    ) -> None:
        self._device_id = device_id
        self._store = store
        self._limits = limits
        self._tables = tables
        self._waiting = list(reversed(missing_blobs(blobs, store)))
        self._blobs: dict[str, _Blob] = {}
        self._useful_at = now
        self._wrong_blobs: dict[str, int] = {}
        self.wrong_chunks = 0  #: that came in the name of the source
        self.total_bytes = sum({blob.digest: blob.size for blob in blobs}.values())
        self._committed_bytes = self.total_bytes - sum(blob.size for blob in self._waiting)

    @property
    def done(self) -> bool:
        return not self._waiting and not self._blobs

    @property
    def done_bytes(self) -> int:
        return self._committed_bytes + sum(blob.incoming.done_bytes for blob in self._blobs.values())

    @property
    def buffered_bytes(self) -> int:
        """Held in memory because an earlier chunk is missing; never more than the window for each open blob."""
        return sum(blob.incoming.buffered_bytes for blob in self._blobs.values())

    @property
    def expected(self) -> frozenset[str]:
        """Digests of the blobs under way."""
        return frozenset(self._blobs)

    def take(self, chunk: Chunk, now: float) -> None:
        """A chunk has come. One that is not missing is ignored."""
        blob = self._blobs.get(chunk.digest)
        if blob is None:
            return
        if chunk.absent:
            self._hear_absent(blob)
            return
        taken = blob.incoming.take(chunk.offset, chunk.data)
        if taken is Taken.WRONG:
            self._count_wrong(chunk)
        elif taken is Taken.NEW:
            blob.asked.discard(chunk.offset // CHUNK_BYTES)
            blob.absent.clear()
            blob.progress_at = self._useful_at = now
            blob.ask_again_s = self._limits.ask_again_s
            if blob.incoming.is_whole:
                self._commit(blob)

    def wants(self, now: float) -> list[Want]:
        """What to ask for at this time: again what did not come, then more, as far as the window allows."""
        if self.done:
            return []
        if now - self._useful_at > self._limits.give_up_s:
            raise TransferError(
                f"the source has sent nothing useful for {self._limits.give_up_s:.0f} s",
                hint="keep a source running: neo broker, or neo push without --no-wait",
                details={"wrong_chunks": self.wrong_chunks},
            )
        again = [want for blob in self._blobs.values() for want in self._ask_again(blob, now)]
        return again + self._ask_more(now)

    def reconnected(self, now: float) -> None:
        """Chunks under way are lost: what is missing is asked for again at the next ``wants``."""
        self._useful_at = now
        for blob in self._blobs.values():
            blob.ask_again_s = self._limits.ask_again_s
            blob.progress_at = now - self._limits.ask_again_s

    def close(self, *, keep: bool = True) -> None:
        """keep: leave the files as they are; the next Transfer resumes."""
        for digest, blob in self._blobs.items():
            try:
                blob.incoming.close(keep=keep)
            except StoreError as error:
                logger.warning("the last bytes of %s are lost and fetched again: %s", digest, error)
        self._blobs.clear()

    def _hear_absent(self, blob: _Blob) -> None:
        """Anybody may have sent it, or it is older than what made the source have the blob: it is asked again."""
        blob.absent.add(blob.asks)
        if len(blob.absent) >= self._limits.believe_absent:
            raise TransferError(
                f"the source does not have blob {blob.incoming.digest}: asked {len(blob.absent)} times",
                hint="push the bundle again: neo push REF --to DEVICE",
                details={"absent": blob.incoming.digest},
            )

    def _count_wrong(self, chunk: Chunk) -> None:
        self.wrong_chunks += 1
        if self.wrong_chunks.bit_count() == 1:  # 1, 2, 4, ...: a flood does not fill the log
            logger.warning(
                "dropped a wrong chunk at %d of %s; %d so far came in the name of the source",
                chunk.offset,
                chunk.digest,
                self.wrong_chunks,
            )

    def _commit(self, blob: _Blob) -> None:
        digest = blob.incoming.digest
        del self._blobs[digest]
        try:
            blob.incoming.commit()
        except StoreError as error:
            if type(error) is not StoreError:  # DiskFull says what to do itself
                raise
            self._fetch_again(blob.descriptor, error)
        else:
            self._committed_bytes += blob.incoming.size

    def _fetch_again(self, blob: Descriptor, error: StoreError) -> None:
        wrong = self._wrong_blobs[blob.digest] = self._wrong_blobs.get(blob.digest, 0) + 1
        if wrong >= self._limits.wrong_blobs:
            raise TransferError(
                f"the source sent wrong bytes {wrong} times: {error.message}", details={"wrong": blob.digest}
            ) from error
        logger.warning("wrong bytes came in the name of the source; they are fetched again: %s", error.message)
        self._waiting.append(blob)

    def _ask_again(self, blob: _Blob, now: float) -> list[Want]:
        if now - blob.progress_at < blob.ask_again_s:
            return []
        blob.progress_at = now
        blob.ask_again_s = min(2 * blob.ask_again_s, self._limits.ask_again_cap_s)
        return self._ask(blob, sorted(blob.asked))

    def _ask_more(self, now: float) -> list[Want]:
        wants = []
        room = self._limits.window_bytes - sum(blob.outstanding for blob in self._blobs.values())
        if room < self._limits.window_bytes // 3:  # a few large wants, not one for every chunk that came
            return []
        while room > 0 and (blob := self._next_blob(now)) is not None:
            if not blob.asked:
                blob.progress_at = now
            indices = []
            for index in blob.incoming.missing():
                if room <= 0:
                    break
                if index not in blob.asked:
                    indices.append(index)
                    room -= chunk_span(index, blob.incoming.size)[1]
            blob.asked.update(indices)
            wants += self._ask(blob, indices)
        return wants

    def _ask(self, blob: _Blob, indices: Sequence[int]) -> list[Want]:
        blob.asks += 1
        spans = spans_of(indices, blob.incoming.size)
        return [Want(self._device_id, blob.incoming.digest, offset, length) for offset, length in spans]

    def _next_blob(self, now: float) -> _Blob | None:
        """The first blob that has something left to ask for; whole blobs that need no asking are committed."""
        for blob in self._blobs.values():
            if not blob.asked.issuperset(blob.incoming.missing()):
                return blob
        while self._waiting and len(self._blobs) < self._limits.open_blobs:
            blob = self._open(self._waiting.pop(), now)
            if not blob.incoming.is_whole:
                return blob
            self._commit(blob)
        return None

    def _open(self, descriptor: Descriptor, now: float) -> _Blob:
        table = self._tables.get(descriptor.digest)
        incoming = open_incoming(self._store, descriptor, table, self._limits.window_bytes)
        blob = self._blobs[descriptor.digest] = _Blob(descriptor, incoming, now, self._limits.ask_again_s)
        return blob

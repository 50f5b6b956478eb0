"""Blobs in chunks over a link that loses, repeats, reorders and forges: what to ask for, and where the bytes go.

No I/O but the store's: chunks and the time come in, what to say to the source goes out. What is wrong is dropped when
it comes and costs one chunk; nothing that a stranger can send ends a transfer by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from edge_agent.install.asking import Ask, MissingTeller, OpenBlob, RangeAsker, TransferLimits, Wire
from edge_agent.install.incoming import Taken, open_incoming
from neo.contract.chunks import CHUNK_BYTES
from neo.contract.messages import Chunk, Missing, NumberedChunk
from neo.contract.oci import Descriptor
from neo.errors import StoreError, TransferError
from neo.store import Store

logger = logging.getLogger(__name__)

OLD_WIRE, WIRE = 1, 2
TRY_OTHER_WIRE = 2  # unanswered messages after which the source may be of another version


def missing_blobs(blobs: Iterable[Descriptor], store: Store) -> tuple[Descriptor, ...]:
    """Those that the store lacks, each once, in order."""
    return tuple({blob.digest: blob for blob in blobs if not store.has(blob.digest)}.values())


class Transfer:
    """Fetch blobs into the store. ``wants`` returns what to say now; ``done`` says that every blob is committed.

    tables: digest of a blob -> the sha256 of its chunks, for those that have a table. wire: what earlier transfers
    learned of the source. Raises TransferError if the source lacks a blob, sends nothing, or nothing right; DiskFull
    and StoreError as the store does. What was written stays, and the next Transfer goes on from there.
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
        wire: Wire | None = None,
    ) -> None:
        self._store = store
        self._limits = limits
        self._tables = tables
        self._wire = wire or Wire()
        self._teller = MissingTeller(device_id, self._wire, limits)
        self._asker = RangeAsker(device_id, self._wire, limits)
        self._waiting = list(reversed(missing_blobs(blobs, store)))
        self._blobs: dict[str, OpenBlob] = {}
        self._useful_at = now
        self._wrong_blobs: dict[str, int] = {}
        self.wrong_chunks = 0  #: wrong or forged messages that came in the name of the source
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

    def take(self, chunk: Chunk | NumberedChunk, now: float) -> None:
        """A chunk has come. One that is not missing is ignored."""
        blob = self._blobs.get(chunk.digest)
        if blob is None:
            return
        if isinstance(chunk, NumberedChunk) and (chunk.asks or chunk.absent):
            self._hear(chunk, blob)
        elif isinstance(chunk, Chunk) and chunk.absent:
            self._hear_absent(blob, str(blob.asks))
        else:
            self._take_data(chunk, blob, now)

    def wants(self, now: float) -> list[Ask]:
        """What to say at this time."""
        self._open_more(now)
        if self.done:
            return []
        if now - self._useful_at > self._limits.give_up_s:
            wrong = f", and wrong bytes {self.wrong_chunks} times" if self.wrong_chunks else ""
            raise TransferError(
                f"the source has sent nothing useful for {self._limits.give_up_s:.0f} s{wrong}",
                hint="is its store damaged, or does somebody else publish chunks? compile the bundle again, or see "
                "who may write there"
                if wrong
                else "keep a source running: neo broker, or neo push without --no-wait",
                details={"wrong_chunks": self.wrong_chunks},
            )
        asks: list[Ask] = []
        wire, is_answered = self._wire, self._wire.unanswered < TRY_OTHER_WIRE
        # the newer one first: a source that knows it passes over the other
        if (wire.heard != OLD_WIRE or not is_answered) and (missing := self._teller.message(self._blobs, now)):
            asks.append(missing)
        if wire.heard == OLD_WIRE or (wire.heard == 0 and wire.unanswered >= TRY_OTHER_WIRE):
            asks += self._asker.wants(self._blobs.values(), now)
        return asks

    def farewell(self, now: float) -> Missing | None:
        """What to say at the end, so that the source does not wait for an answer; None if it does not."""
        return self._teller.message({}, now, at_once=True) if self._wire.told else None

    def reconnected(self, now: float) -> None:
        """Chunks under way are lost: what is missing is asked for again at the next ``wants``."""
        self._useful_at = now
        self._teller.asked()
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

    def _take_data(self, chunk: Chunk | NumberedChunk, blob: OpenBlob, now: float) -> None:
        taken = blob.incoming.take(chunk.offset, chunk.data)
        if taken is Taken.WRONG:
            self._count_wrong(f"a wrong chunk at {chunk.offset} of {chunk.digest}")
        elif taken is Taken.NEW:
            blob.asked.discard(chunk.offset // CHUNK_BYTES)
            blob.absent.clear()
            blob.progress_at = self._useful_at = now
            blob.ask_again_s = self._limits.ask_again_s
            self._wire.unanswered = 0
            if isinstance(chunk, NumberedChunk):
                self._wire.heard = WIRE
                self._wire.seen = max(self._wire.seen, chunk.sequence)
                self._teller.took(now)
            else:
                self._wire.heard = OLD_WIRE
            if blob.incoming.is_whole:
                self._commit(blob)

    def _hear(self, chunk: NumberedChunk, blob: OpenBlob) -> None:
        """Not data, but something about the blob."""
        if chunk.asks:
            self._wire.seen = max(self._wire.seen, chunk.sequence)
            self._teller.asked()
        elif chunk.absent == self._teller.nonce:
            self._hear_absent(blob, chunk.absent)
        else:
            self._count_wrong(f"{chunk.digest} is absent, says who does not know what was asked,")

    def _hear_absent(self, blob: OpenBlob, asked: str) -> None:
        """It may be forged, or older than what made the source have the blob: it is asked again."""
        blob.absent.add(asked)
        if len(blob.absent) >= self._limits.believe_absent:
            raise TransferError(
                f"the source does not have blob {blob.incoming.digest}: asked {len(blob.absent)} times",
                hint="push the bundle again: neo push REF --to DEVICE",
                details={"absent": blob.incoming.digest},
            )

    def _count_wrong(self, what: str) -> None:
        self.wrong_chunks += 1
        if self.wrong_chunks.bit_count() == 1:  # 1, 2, 4, ...: a flood does not fill the log
            logger.warning("dropped %s; %d so far came in the name of the source", what, self.wrong_chunks)

    def _open_more(self, now: float) -> None:
        """As many blobs as the window has room for; whole ones that need no asking are committed."""
        while self._waiting and len(self._blobs) < self._limits.open_blobs:
            missing = sum(blob.incoming.size - blob.incoming.done_bytes for blob in self._blobs.values())
            if missing >= self._limits.window_bytes:
                return
            descriptor = self._waiting.pop()
            table = self._tables.get(descriptor.digest)
            incoming = open_incoming(self._store, descriptor, table, self._limits.window_bytes)
            blob = self._blobs[descriptor.digest] = OpenBlob(descriptor, incoming, now, self._limits.ask_again_s)
            if incoming.is_whole:
                self._commit(blob)

    def _commit(self, blob: OpenBlob) -> None:
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

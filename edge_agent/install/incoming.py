"""Blobs under way: each chunk is checked when it comes, or, where nothing names the chunks, the blob at its end."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Protocol

from neo.contract.chunks import CHUNK_BYTES, chunk_count, chunk_span
from neo.contract.oci import Descriptor
from neo.store import Store


class Taken(enum.Enum):
    """What became of a chunk."""

    NEW = "new"
    #: not asked for, here already, or nothing that can be kept now
    IGNORED = "ignored"
    #: it is not what the table says
    WRONG = "wrong"


class Incoming(Protocol):
    """One blob under way. All methods raise DiskFull and StoreError as the store does."""

    digest: str
    size: int

    @property
    def done_bytes(self) -> int: ...

    @property
    def is_whole(self) -> bool: ...

    @property
    def buffered_bytes(self) -> int:
        """Held in memory."""

    def missing(self) -> Sequence[int]:
        """Indices of the chunks that are not here and can be taken now, in order."""

    def take(self, offset: int, data: bytes) -> Taken: ...

    def commit(self) -> None:
        """Into the store. A blob that turns out wrong is dropped, and a plain StoreError raised."""

    def close(self, *, keep: bool) -> None:
        """keep: what is written stays, to go on from."""


def open_incoming(store: Store, blob: Descriptor, digests: Sequence[bytes] | None, window_bytes: int) -> Incoming:
    """digests: the sha256 of every chunk, None if nothing says them. window_bytes: of chunks that come too early for a
    blob that is not checked by chunks.
    """
    if digests is None and blob.size <= CHUNK_BYTES:
        digests = [bytes.fromhex(blob.digest.removeprefix("sha256:"))] * chunk_count(blob.size)
    if digests is None:
        return _Unchecked(store, blob, window_bytes)
    return _Checked(store, blob, digests)


class _Checked:
    """Takes chunks in any order."""

    def __init__(self, store: Store, blob: Descriptor, digests: Sequence[bytes]) -> None:
        self.digest = blob.digest
        self.size = blob.size
        self.buffered_bytes = 0
        self._ingest = store.ingest_chunks(blob.digest, blob.size, digests)

    @property
    def done_bytes(self) -> int:
        return self.size - self._ingest.missing_bytes

    @property
    def is_whole(self) -> bool:
        return not self._ingest.missing

    def missing(self) -> Sequence[int]:
        return sorted(self._ingest.missing)

    def take(self, offset: int, data: bytes) -> Taken:
        index = offset // CHUNK_BYTES
        if index not in self._ingest.missing or (offset, len(data)) != chunk_span(index, self.size):
            return Taken.IGNORED
        return Taken.NEW if self._ingest.write(index, data) else Taken.WRONG

    def commit(self) -> None:
        try:
            self._ingest.commit()
        finally:
            self._ingest.close()

    def close(self, *, keep: bool) -> None:
        (self._ingest.close if keep else self._ingest.discard)()


class _Unchecked:
    """Written from its beginning on, so that after a kill what is there is known to be its beginning."""

    def __init__(self, store: Store, blob: Descriptor, window_bytes: int) -> None:
        self.digest = blob.digest
        self.size = blob.size
        self._ingest = store.ingest(blob.digest, blob.size)
        self._window = max(window_bytes // CHUNK_BYTES, 1)
        self._early: dict[int, bytes] = {}

    @property
    def done_bytes(self) -> int:
        return self._ingest.offset

    @property
    def is_whole(self) -> bool:
        return self._ingest.offset == self.size

    @property
    def buffered_bytes(self) -> int:
        return sum(map(len, self._early.values()))

    def missing(self) -> Sequence[int]:
        first = self._ingest.offset // CHUNK_BYTES
        last = first if self.is_whole else chunk_count(self.size)
        return [index for index in range(first, min(first + self._window, last)) if index not in self._early]

    def take(self, offset: int, data: bytes) -> Taken:
        index = offset // CHUNK_BYTES
        here = self._ingest.offset // CHUNK_BYTES
        whole = (offset, len(data)) == chunk_span(index, self.size)
        if not whole or not here <= index < here + self._window or index in self._early or self.is_whole:
            return Taken.IGNORED
        self._early[index] = data
        while (data_here := self._early.pop(self._ingest.offset // CHUNK_BYTES, None)) is not None:
            self._ingest.write(memoryview(data_here)[self._ingest.offset % CHUNK_BYTES :])
        return Taken.NEW

    def commit(self) -> None:
        try:
            self._ingest.commit()
        finally:
            self._ingest.close()

    def close(self, *, keep: bool) -> None:
        (self._ingest.close if keep else self._ingest.discard)()

"""One blob on its way into a store, chunk by chunk in any order, each checked when it comes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from neo.contract.chunks import chunk_span, is_chunk
from neo.durable import translating_os_errors
from neo.errors import StoreError
from neo.store.ingest import PartFile, digest_of_rest, publish


class ChunkedIngest(PartFile):
    """``write`` chunks, end with ``commit``.

    digests: the sha256 of every chunk. missing: indices of those that are not here. What is here from before was read
    and checked again: nothing else says which parts of the file are written, and a power cut may have taken some.
    """

    def __init__(self, part: Path, final: Path, digest: str, size: int, digests: Sequence[bytes]) -> None:
        self.missing = set(range(len(digests)))
        self._digests = digests
        super().__init__(part, final, digest, size, wait=False)

    @property
    def missing_bytes(self) -> int:
        return sum(chunk_span(index, self.size)[1] for index in self.missing)

    def write(self, index: int, data: bytes) -> bool:
        """False, and nothing is written, if data is not that chunk. Raises DiskFull, StoreError."""
        if not is_chunk(data, index, self._digests):
            return False
        if index in self.missing:
            with translating_os_errors(self._part):
                self._file.seek(chunk_span(index, self.size)[0])
                rest = memoryview(data)
                while rest:
                    rest = rest[self._file.write(rest) :]
            self.missing.discard(index)
        return True

    def commit(self) -> None:
        """Check the whole, make it durable and read-only, and publish it.

        Raises StoreError, and drops what came, if chunks are missing or do not make up the blob: then the table is not
        that blob's, or the disk has lost something.
        """
        with translating_os_errors(self._part):
            self._file.truncate(self.size)  # what was here before may have been longer
            self._file.seek(0)
            found = digest_of_rest(self._file)
            if self.missing or found != self.digest:
                self.discard()
                raise StoreError(
                    f"the chunks of {self.digest} make up {found}, {len(self.missing)} are missing; "
                    "what came was dropped"
                )
            publish(self._file, self._part, self._final)

    def _read_what_is_here(self) -> None:
        for index in range(len(self._digests)):
            _, length = chunk_span(index, self.size)
            piece = self._file.read(length)
            if len(piece) < length:
                break
            if is_chunk(piece, index, self._digests):
                self.missing.discard(index)

"""What a source sends, in order, for what it is asked."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from edge_agent.install.asking import Ask
from neo.contract.chunks import CHUNK_BYTES
from neo.contract.messages import Chunk, Missing, NumberedChunk, Want

AnyChunk = Chunk | NumberedChunk
Read = Callable[[str], bytes]  # digest -> the blob

_NUMBERS = itertools.count(1)


def answer(asks: Sequence[Ask], read: Read) -> list[AnyChunk]:
    return [chunk for ask in asks for chunk in (_ranges if isinstance(ask, Want) else _missing)(read, ask)]


def _ranges(read: Read, want: Want) -> list[AnyChunk]:
    data, end = read(want.digest), want.offset + want.length
    return [
        Chunk(want.digest, start, data[start : min(start + CHUNK_BYTES, end)])
        for start in range(want.offset, end, CHUNK_BYTES)
    ]


def _missing(read: Read, missing: Missing) -> list[AnyChunk]:
    return [
        NumberedChunk(blob.digest, index, next(_NUMBERS), read(blob.digest)[index * CHUNK_BYTES :][:CHUNK_BYTES])
        for blob in missing.blobs
        for first, count in blob.runs
        for index in range(first, first + count)
    ]

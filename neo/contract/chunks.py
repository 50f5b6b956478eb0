"""How a blob is cut into chunks, and the table of their digests. Pure.

Every blob has the same grid, so that a chunk sent once is of use to whoever misses it. 98,304 bytes: what carries it
fits the payload limit of every broker known (128 KiB, topic and headers included), a forged chunk costs a tenth of a
second at 8 Mbit/s, and the table is 0.03 % of the blob.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import IO

from neo.contract.fields import ContractError
from neo.contract.oci import parse_digest

CHUNK_BYTES = 98_304
#: media type of a table: the sha256 of every chunk in order and nothing else
TABLE_TYPE = "application/vnd.neo-edge.chunks.v1"
#: where tables stand among a bundle's files
TABLE_DIR = "chunks"
DIGEST_BYTES = 32


def chunk_count(size: int) -> int:
    """Of a blob with that many bytes."""
    return -(-size // CHUNK_BYTES)


def chunk_span(index: int, size: int) -> tuple[int, int]:
    """(offset, length) of a chunk in a blob of size bytes; the last one is what is left."""
    offset = index * CHUNK_BYTES
    return offset, min(CHUNK_BYTES, size - offset)


def table_path(digest: str) -> str:
    """Of the table of the blob with this digest, among a bundle's files."""
    return f"{TABLE_DIR}/{parse_digest(digest).removeprefix('sha256:')}"


def write_table(file: IO[bytes]) -> bytes:
    """The table of what is read from the file, to its end."""
    return b"".join(hashlib.sha256(chunk).digest() for chunk in _chunks(file))


def read_table(table: bytes, size: int) -> tuple[bytes, ...]:
    """The sha256 of every chunk of a blob of size bytes. Raises ContractError if the table has another length."""
    wanted = DIGEST_BYTES * chunk_count(size)
    if len(table) != wanted:
        raise ContractError(f"the chunk table of a blob of {size} bytes has {len(table)} bytes, expected {wanted}")
    return tuple(table[at : at + DIGEST_BYTES] for at in range(0, wanted, DIGEST_BYTES))


def is_chunk(data: bytes | memoryview, index: int, digests: Sequence[bytes]) -> bool:
    return hashlib.sha256(data).digest() == digests[index]


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk

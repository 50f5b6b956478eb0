"""Blobs on their way: what a device wants, and the chunks that a source answers with.

``Want`` and ``Chunk`` are of wire 1, between one device and one source. ``Missing`` and ``NumberedChunk`` are of wire
2, in which one publication serves all who miss a chunk.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Any, ClassVar

from neo.contract.chunks import CHUNK_BYTES
from neo.contract.fields import ContractError, as_object, get, get_list, get_size
from neo.contract.messages.wire import MAX_PAYLOAD_BYTES, dump_message, parse_message
from neo.contract.names import parse_name
from neo.contract.oci import parse_digest
from neo.contract.versions import NewerFormat

MAX_WANT_BYTES = 64 << 20
MAX_MISSING_BLOBS = 32
MAX_MISSING_RUNS = 64  # of one blob; what is beyond is said later
_MISSING_BYTES = 64 << 10
_NONCE = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Want:
    """A device asks for length bytes of a blob from offset on; the source answers with chunks, in order."""

    device_id: str
    digest: str
    offset: int
    length: int

    @classmethod
    def from_bytes(cls, data: bytes) -> Want:
        obj = parse_message(data, "want", max_bytes=4096)
        length = get_size(obj, "length", "want")
        if not 0 < length <= MAX_WANT_BYTES:
            raise ContractError(f"want.length is {length}; 1 to {MAX_WANT_BYTES} bytes can be asked for at once")
        return cls(
            parse_name(obj.get("device_id"), "want.device_id"),
            parse_digest(obj.get("digest"), "want.digest"),
            get_size(obj, "offset", "want"),
            length,
        )

    def to_bytes(self) -> bytes:
        return dump_message(
            {"device_id": self.device_id, "digest": self.digest, "offset": self.offset, "length": self.length}
        )


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes of a blob from offset on. absent=True (and no data): the source does not have the blob."""

    digest: str
    offset: int
    data: bytes
    absent: bool = False

    # magic, flags, sha256, offset
    _HEADER: ClassVar[struct.Struct] = struct.Struct(">4sB32sQ")
    _MAGIC: ClassVar[bytes] = b"NEO1"
    _LATER: ClassVar[re.Pattern[bytes]] = re.compile(rb"NEO[2-9]")
    MAX_DATA_BYTES: ClassVar[int] = MAX_PAYLOAD_BYTES - 45

    @classmethod
    def from_bytes(cls, payload: bytes) -> Chunk:
        if not cls._HEADER.size <= len(payload) <= MAX_PAYLOAD_BYTES:
            raise ContractError(f"a chunk of {len(payload)} bytes")
        magic, flags, sha256, offset = cls._HEADER.unpack_from(payload)
        if cls._LATER.fullmatch(magic):
            raise NewerFormat(
                f"a chunk of a newer neo-edge ({magic.decode()}); this version reads {cls._MAGIC.decode()}"
            )
        if magic != cls._MAGIC or flags > 1 or offset >= 1 << 63 or (flags and len(payload) > cls._HEADER.size):
            raise ContractError("not a chunk of this protocol version")
        return cls("sha256:" + sha256.hex(), offset, payload[cls._HEADER.size :], bool(flags))

    def to_bytes(self) -> bytes:
        sha256 = bytes.fromhex(self.digest.removeprefix("sha256:"))
        return self._HEADER.pack(self._MAGIC, int(self.absent), sha256, self.offset) + self.data


@dataclass(frozen=True, slots=True)
class MissingChunks:
    """Of one blob. runs: (first chunk, how many), rising."""

    digest: str
    runs: tuple[tuple[int, int], ...]

    @classmethod
    def from_json(cls, value: Any) -> MissingChunks:
        obj = as_object(value, "missing.blob")
        return cls(
            parse_digest(obj.get("digest"), "missing.blob.digest"),
            get_list(obj, "runs", _parse_run, "missing.blob", most=MAX_MISSING_RUNS),
        )

    def to_json(self) -> dict[str, Any]:
        return {"digest": self.digest, "runs": [list(run) for run in self.runs]}


@dataclass(frozen=True, slots=True)
class Missing:
    """All that a device misses now: it takes the place of what the device said before. No blobs: nothing any more."""

    device_id: str
    #: 16 hexadecimal digits, new each time: only who reads the source's topic can say "absent"
    nonce: str
    #: the highest ``NumberedChunk.sequence`` that came, 0 for none: what was sent after it may be on its way
    seen: int
    blobs: tuple[MissingChunks, ...]

    @classmethod
    def from_bytes(cls, data: bytes) -> Missing:
        obj = parse_message(data, "missing", max_bytes=_MISSING_BYTES)
        nonce = get(obj, "nonce", str, "missing")
        if not _NONCE.fullmatch(nonce):
            raise ContractError(f"missing.nonce is {nonce[:40]!r}, not 16 hexadecimal digits")
        return cls(
            parse_name(obj.get("device_id"), "missing.device_id"),
            nonce,
            get_size(obj, "seen", "missing"),
            get_list(obj, "blobs", MissingChunks.from_json, "missing", most=MAX_MISSING_BLOBS),
        )

    def to_bytes(self) -> bytes:
        blobs = [blob.to_json() for blob in self.blobs]
        return dump_message({"device_id": self.device_id, "nonce": self.nonce, "seen": self.seen, "blobs": blobs})


@dataclass(frozen=True, slots=True)
class NumberedChunk:
    """One chunk of the grid (``contract.chunks``), for whoever misses it."""

    digest: str
    index: int
    #: rises with everything that a source sends, also over its restarts
    sequence: int
    data: bytes
    #: not data but the nonce of the device's message: the source does not have the blob
    absent: str = ""
    #: no data: everything wanted of this blob was sent once; say what you miss
    asks: bool = False

    # magic, flags, sha256, index, sequence
    _HEADER: ClassVar[struct.Struct] = struct.Struct(">4sB32sQQ")
    _MAGIC: ClassVar[bytes] = b"NEO2"
    _ABSENT: ClassVar[int] = 1
    _ASKS: ClassVar[int] = 2
    _MAX: ClassVar[int] = 1 << 63

    @property
    def offset(self) -> int:
        return self.index * CHUNK_BYTES

    @classmethod
    def is_one(cls, payload: bytes) -> bool:
        """Or is it of wire 1, or nothing that is known?"""
        return payload.startswith(cls._MAGIC)

    @classmethod
    def from_bytes(cls, payload: bytes) -> NumberedChunk:
        if not cls._HEADER.size <= len(payload) <= cls._HEADER.size + CHUNK_BYTES:
            raise ContractError(f"a chunk of {len(payload)} bytes")
        magic, flags, sha256, index, sequence = cls._HEADER.unpack_from(payload)
        if magic != cls._MAGIC or flags > cls._ASKS or max(index, sequence) >= cls._MAX:
            raise ContractError("not a chunk of this protocol version")
        digest, data = "sha256:" + sha256.hex(), payload[cls._HEADER.size :]
        if flags == cls._ABSENT and len(data) == 8:
            return cls(digest, index, sequence, b"", absent=data.hex())
        if flags == cls._ASKS and not data:
            return cls(digest, index, sequence, b"", asks=True)
        if flags or not data:
            raise ContractError("not a chunk of this protocol version")
        return cls(digest, index, sequence, data)

    def to_bytes(self) -> bytes:
        flags = self._ABSENT if self.absent else self._ASKS if self.asks else 0
        sha256 = bytes.fromhex(self.digest.removeprefix("sha256:"))
        header = self._HEADER.pack(self._MAGIC, flags, sha256, self.index, self.sequence)
        return header + (bytes.fromhex(self.absent) or self.data)


def _parse_run(value: Any) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2 or not all(type(part) is int for part in value):
        raise ContractError("missing.blob.runs holds what is no pair of integers")
    first, count = value
    if not (0 <= first < 1 << 40 and 0 < count <= 1 << 40):
        raise ContractError(f"missing.blob.runs holds [{first}, {count}], no run of chunks")
    return first, count

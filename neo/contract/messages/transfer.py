"""Blobs on their way: what a device wants, and the chunks that a source answers with."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import ClassVar

from neo.contract.fields import ContractError, get_size
from neo.contract.messages.wire import MAX_PAYLOAD_BYTES, dump_message, parse_message
from neo.contract.names import parse_name
from neo.contract.oci import parse_digest
from neo.contract.versions import NewerFormat

MAX_WANT_BYTES = 64 << 20


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

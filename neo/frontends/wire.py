"""The outermost layer of a protobuf file, read by seeking: field numbers and sizes, no message is parsed.

Encoding: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_MAX_FIELDS = 512


@dataclass(frozen=True, slots=True)
class WireFile:
    """The outermost fields of a protobuf file."""

    #: (number, wire type) in file order, at most 512
    fields: tuple[tuple[int, int], ...]
    #: by how much the last field reaches beyond the end of the file; 0 if the file is complete
    missing_bytes: int

    def has(self, number: int, kind: int) -> bool:
        return (number, kind) in self.fields

    @property
    def numbers(self) -> frozenset[int]:
        return frozenset(number for number, _ in self.fields)


def read_wire_file(file: BinaryIO, size: int) -> WireFile | None:
    """The top-level fields of a file of ``size`` bytes; None if these bytes are no protobuf message."""
    fields: list[tuple[int, int]] = []
    while file.tell() < size and len(fields) < _MAX_FIELDS:
        tag = _varint(file)
        if tag is None:
            return WireFile(tuple(fields), 1) if file.tell() >= size and fields else None
        number, kind = tag >> 3, tag & 7
        if number == 0 or number >= 1 << 29 or kind not in {VARINT, FIXED64, LENGTH, FIXED32}:
            return None
        fields.append((number, kind))
        skip = {FIXED64: 8, FIXED32: 4}.get(kind, 0)
        if kind in {VARINT, LENGTH}:
            value = _varint(file)
            if value is None:
                return WireFile(tuple(fields), 1) if file.tell() >= size else None
            skip = value if kind == LENGTH else 0
        end = file.tell() + skip
        if end > size:
            return WireFile(tuple(fields), end - size)
        file.seek(end)
    return WireFile(tuple(fields), 0)


def _varint(file: BinaryIO) -> int | None:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    return None

"""What a fleet's two retained trust topics carry.

The timestamp's topic has TUF's timestamp, byte for byte. The set's topic has every other file in one message::

    "NTS1"                 magic with the version
    length of the header   4 bytes, big endian
    header                 JSON: {"files": [{"name": "1.root.json", "size": 1234}, ...]}
    the files              in the header's order

Nothing here is trusted: the files are signed, their container is not.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from neo.contract.fields import ContractError, as_object, dump_object, get, get_list, get_size, parse_object
from neo.contract.versions import NewerFormat

MAX_TIMESTAMP_BYTES = 1 << 10
MAX_SET_BYTES = 100 << 10
TIMESTAMP_FILE = "timestamp.json"
# each root that ever was, and one file for each role
MAX_FILES = 512
#: version, role
_FILE = re.compile(r"([1-9][0-9]{0,8})\.([a-z][a-z0-9-]{0,63})\.json")


def file_name(version: int, role: str) -> str:
    """What TUF calls a file of a repository with consistent snapshots."""
    return f"{version}.{role}.json"


@dataclass(frozen=True, slots=True)
class TufSet:
    #: name as ``file_name`` makes it -> the exact bytes that were signed
    files: Mapping[str, bytes]

    _HEAD: ClassVar[struct.Struct] = struct.Struct(">4sI")
    _MAGIC: ClassVar[bytes] = b"NTS1"
    _LATER: ClassVar[re.Pattern[bytes]] = re.compile(rb"NTS[2-9]")

    @classmethod
    def from_bytes(cls, payload: bytes) -> TufSet:
        """Raises ContractError for what is no set, NewerFormat for one of a later version."""
        if not cls._HEAD.size <= len(payload) <= MAX_SET_BYTES:
            raise ContractError(f"a TUF set of {len(payload)} bytes; at most {MAX_SET_BYTES} are read")
        magic, header_bytes = cls._HEAD.unpack_from(payload)
        if cls._LATER.fullmatch(magic):
            raise NewerFormat(
                f"a TUF set of a newer neo-edge ({magic.decode()}); this version reads {cls._MAGIC.decode()}",
                hint="upgrade neo-edge here",
            )
        if magic != cls._MAGIC:
            raise ContractError("no TUF set of this protocol version")
        start = cls._HEAD.size + header_bytes
        header = parse_object(payload[cls._HEAD.size : start], what="TUF set")
        entries = get_list(header, "files", _read_entry, "TUF set", most=MAX_FILES)
        files: dict[str, bytes] = {}
        for name, size in entries:
            if name in files:
                raise ContractError(f"the TUF set has two files {name}")
            files[name] = payload[start : start + size]
            start += size
        if start != len(payload):
            raise ContractError(f"the files of the TUF set end at byte {start}, the message has {len(payload)}")
        return cls(files)

    def to_bytes(self) -> bytes:
        """Raises ContractError for a set that does not fit one message."""
        names = sorted(self.files, key=_order)
        header = dump_object({"files": [{"name": name, "size": len(self.files[name])} for name in names]})
        payload = b"".join([self._HEAD.pack(self._MAGIC, len(header)), header, *(self.files[name] for name in names)])
        if len(payload) > MAX_SET_BYTES or len(names) > MAX_FILES:
            raise ContractError(
                f"the TUF set has {len(payload)} bytes in {len(names)} files; at most {MAX_SET_BYTES} bytes in "
                f"{MAX_FILES} files fit the message that devices get",
                hint="withdraw releases that no device runs any more: neo release REF --withdraw",
                details={"bytes": len(payload), "most_bytes": MAX_SET_BYTES, "files": len(names)},
            )
        return payload


def _read_entry(value: Any) -> tuple[str, int]:
    entry = as_object(value, "TUF set.files[]")
    name = get(entry, "name", str, "TUF set.files[]")
    if not _FILE.fullmatch(name):
        raise ContractError(f"TUF set.files[].name is {name[:80]!r}, not one as 3.root.json")
    return name, get_size(entry, "size", "TUF set.files[]")


def _order(name: str) -> tuple[str, int]:
    match = _FILE.fullmatch(name)
    if match is None:
        raise ContractError(f"{name[:80]!r} is no name of a file in a TUF set")
    return match[2], int(match[1])

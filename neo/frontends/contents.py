"""What can be seen of a model file without reading it: its first bytes, its table of contents, its outermost fields."""

from __future__ import annotations

import functools
import json
import zipfile
import zlib
from pathlib import Path

from neo.errors import ModelError
from neo.frontends.pickled import is_pickle
from neo.frontends.wire import WireFile, read_wire_file

HEAD_BYTES = 64 << 10
COPY_AGAIN = "copy or download it again and compare the sizes"
# what zipfile raises; RuntimeError: encrypted; NotImplementedError: compressed in a way that Python cannot read;
# OSError: a member that begins before the file does
ZIP_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError)
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_ZIP_MAGIC = b"PK\x03\x04"


class Contents:
    """A file or folder that may be a model. At most one of is_folder, is_zip, is_hdf5, is_pickle and is_text holds."""

    def __init__(self, path: Path) -> None:
        """Raises OSError if the file cannot be read, ModelError for a zip file without its table of contents."""
        self.path = path
        self.is_folder = path.is_dir()
        #: the first 64 KiB of a file, b"" of a folder
        self.head = b"" if self.is_folder else _head(path)
        self.is_zip = self.head.startswith(_ZIP_MAGIC)
        self.is_hdf5 = self.head.startswith(_HDF5_MAGIC)
        #: sorted, of what lies in the folder; in the zip file's own order, with "/" between folders; else ()
        self.names = self._names()

    @functools.cached_property
    def inner_names(self) -> frozenset[str]:
        """``names``, with and without the first folder: some frameworks put all in one, named after the file."""
        return frozenset(self.names) | {name.partition("/")[2] for name in self.names}

    @functools.cached_property
    def is_pickle(self) -> bool:
        """By the first bytes, or, where those are compressed, by the file's ending."""
        return not (self.is_folder or self.is_zip or self.is_hdf5) and is_pickle(self.path, self.head)

    @functools.cached_property
    def is_text(self) -> bool:
        return bool(self.head) and not self.is_pickle and _looks_like_text(self.head)

    @functools.cached_property
    def is_json(self) -> bool:
        """Of at most a MiB."""
        if not self.is_text or self.head.lstrip()[:1] not in b"{[" or self.path.stat().st_size > 1 << 20:
            return False
        try:
            json.loads(self.path.read_bytes())
        except (ValueError, RecursionError):
            return False
        return True

    @functools.cached_property
    def protobuf(self) -> WireFile | None:
        """The outermost fields, at least one; None if it is no protobuf message."""
        if self.is_folder or self.is_zip or self.is_hdf5 or self.is_pickle or self.is_text:
            return None
        with self.path.open("rb") as file:
            wire = read_wire_file(file, self.path.stat().st_size)
        return wire if wire is not None and wire.fields else None

    def starts_member(self, name: str) -> bytes:
        """The first 64 KiB of a file in the zip file. Raises ZIP_DAMAGE."""
        with zipfile.ZipFile(self.path) as archive, archive.open(name) as member:
            return member.read(HEAD_BYTES)

    def _names(self) -> tuple[str, ...]:
        if self.is_folder:
            return tuple(sorted(entry.name for entry in self.path.iterdir()))
        if not self.is_zip:
            return ()
        try:
            with zipfile.ZipFile(self.path) as archive:
                return tuple(archive.namelist())
        except ZIP_DAMAGE as error:
            raise damaged_zip(self.path) from error


def damaged_zip(path: Path) -> ModelError:
    return ModelError(
        f"{path} is truncated or damaged: it starts as a zip file, but its table of contents, which stands at the"
        f" end, cannot be read ({path.stat().st_size} bytes are there)",
        hint=COPY_AGAIN,
    )


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def _looks_like_text(head: bytes) -> bool:
    try:
        text = head[:4096].decode()
    except UnicodeDecodeError as error:
        # the cut at 4096 bytes may fall inside a character
        if error.start < min(len(head), 4096) - 4:
            return False
        text = head[: error.start].decode()
    return all(char.isprintable() or char in "\n\r\t\f" for char in text)

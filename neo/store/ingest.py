"""One blob on its way into a store."""

from __future__ import annotations

import abc
import fcntl
import hashlib
import io
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING

from neo.durable import sync_directory, translating_os_errors
from neo.errors import StoreError

if TYPE_CHECKING:
    from typing_extensions import Self

READ_BYTES = 1 << 20


class PartFile(abc.ABC):
    """The file of a blob that is not whole yet, for one process at a time. Leave the ``with`` block to go on later.

    A second one, in whatever process, raises StoreError, or waits for its turn if it asked for that (wait).
    """

    def __init__(self, part: Path, final: Path, digest: str, size: int, *, wait: bool) -> None:
        self.digest = digest
        self.size = size
        self._part = part
        self._final = final
        with translating_os_errors(part):
            # unbuffered: what is counted as written is in the file, also after a write that failed
            self._file = open_locked(part, digest, wait=wait)
            try:
                self._read_what_is_here()
            except OSError:
                self._file.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """What was written stays, for another one to go on from. Raises DiskFull, StoreError."""
        if self._file.closed:
            return
        with translating_os_errors(self._part):
            # a child being started at this moment may hold a copy of the descriptor, and with it the lock
            fcntl.flock(self._file, fcntl.LOCK_UN)
            self._file.close()

    def discard(self) -> None:
        """Remove what is here; nothing can be written any more. Raises StoreError."""
        with translating_os_errors(self._part):
            self._part.unlink(missing_ok=True)
        self.close()

    @abc.abstractmethod
    def _read_what_is_here(self) -> None:
        """Find out what an earlier one has written. The file is at its beginning. Raises OSError."""


class Ingest(PartFile):
    """Append with ``write``, end with ``commit``.

    offset: how many bytes are already here; the next ``write`` must start there.
    """

    def __init__(self, part: Path, final: Path, digest: str, size: int, *, wait: bool = False) -> None:
        self.offset = 0
        self._sha256 = hashlib.sha256()
        super().__init__(part, final, digest, size, wait=wait)

    def restart(self) -> None:
        """Forget what is here and begin at offset 0. Raises StoreError."""
        with translating_os_errors(self._part):
            self._file.truncate(0)
            self._file.seek(0)
        self._sha256 = hashlib.sha256()
        self.offset = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append. Raises DiskFull, StoreError, and then nothing of data is there; StoreError too when the blob would
        grow past its size.
        """
        if self.offset + len(data) > self.size:
            raise StoreError(f"blob {self.digest} should have {self.size} bytes; more came")
        with translating_os_errors(self._part):
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[self._file.write(rest) :]
            except OSError:
                self._file.truncate(self.offset)
                self._file.seek(self.offset)
                raise
        self._sha256.update(data)
        self.offset += len(data)

    def commit(self) -> None:
        """Check, make durable and read-only, and publish. A blob with the wrong digest is dropped: StoreError."""
        found = "sha256:" + self._sha256.hexdigest()
        with translating_os_errors(self._part):
            if self.offset != self.size or found != self.digest or os.fstat(self._file.fileno()).st_size != self.size:
                self.discard()
                raise StoreError(
                    f"expected {self.digest} with {self.size} bytes, got {found} with {self.offset}; "
                    "what came was dropped"
                )
            publish(self._file, self._part, self._final)

    def _read_what_is_here(self) -> None:
        while piece := self._file.read(READ_BYTES):
            self._sha256.update(piece)
        self.offset = self._file.tell()
        if self.offset > self.size:
            self.restart()


def digest_of_rest(file: IO[bytes]) -> str:
    """Of what is from the file's position on, piece by piece. Raises OSError."""
    sha256 = hashlib.sha256()
    while piece := file.read(READ_BYTES):
        sha256.update(piece)
    return "sha256:" + sha256.hexdigest()


def publish(file: io.FileIO, part: Path, final: Path) -> None:
    """Make a whole blob durable and read-only, and give it its name. Raises OSError."""
    os.fchmod(file.fileno(), 0o444)
    os.fsync(file.fileno())
    part.replace(final)
    sync_directory(final.parent)


def open_locked(part: Path, digest: str, *, wait: bool) -> io.FileIO:
    """The file of a blob under way, made if missing, for reading and writing, unbuffered, at its beginning.

    Raises StoreError if another program has it and is not to be waited for, and OSError.
    """
    while True:
        file = _open(part)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if _is_still_at(file, part):
                return file
        except BlockingIOError as error:
            file.close()
            raise StoreError(f"blob {digest} is being written by another program", hint="wait for it to end") from error
        except BaseException:  # also Ctrl-C must not leave the lock taken
            file.close()
            raise
        file.close()  # whoever had it has published or dropped it: there is a new file, or none


def _open(part: Path) -> io.FileIO:
    try:
        return _open_or_make(part)
    except PermissionError:
        # killed in ``commit`` after the file became read-only and before it was published
        part.chmod(0o600)
        return _open_or_make(part)


def _open_or_make(part: Path) -> io.FileIO:
    # not "a+b": chunks are written where they belong, and what is appended by the kernel cannot be
    return io.FileIO(part, "r+b", opener=lambda name, flags: os.open(name, flags | os.O_CREAT | os.O_CLOEXEC, 0o666))


def _is_still_at(file: io.FileIO, part: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), part.stat())
    except FileNotFoundError:
        return False

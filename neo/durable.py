"""Writing files so that a power cut leaves the old one or the new one."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from neo.errors import DiskFull, StoreError


@contextmanager
def translating_os_errors(path: Path, action: str = "write") -> Iterator[None]:
    """OSError -> DiskFull or StoreError that names the path; action: what failed, as in "cannot write"."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFull(f"no space left to write {path}", hint="free some space and try again") from error
        raise StoreError(
            f"cannot {action} {path}: {error.strerror or error}",
            hint="check that the folder is writable" if action == "write" else "",
        ) from error


def sync_directory(path: Path) -> None:
    """The directory too: a rename alone may not survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_file(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write path as a whole or not at all. Raises DiskFull, StoreError; then path is as it was, or the new file is
    there but might not survive a power cut.
    """
    with translating_os_errors(path):
        fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:  # also Ctrl-C must not leave the temporary file behind
            Path(name).unlink(missing_ok=True)
            raise
        sync_directory(path.parent)


def replace_symlink(path: Path, target: str) -> None:
    """Point path at target in one step; whoever looks sees the old or the new."""
    with translating_os_errors(path):
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(path)
        sync_directory(path.parent)

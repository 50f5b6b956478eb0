"""The limit of memory, file size or disk that an exception or a log reports."""

from __future__ import annotations

import errno
import re
import shutil
import tempfile
from pathlib import Path

from neo.errors import DiskFull, NeoError, ResourceLimitExceeded

_ALMOST_NOTHING_BYTES = 64 << 10
# what the libraries of four makers say when an allocation fails: they share no exception class
_NO_MEMORY = re.compile(
    r"can't allocate memory|cannot allocate memory|bad_alloc|bad allocation|Unable to allocate|ResourceExhausted"
    r"|OOM when allocating|out of memory|Failed to allocate memory|MemoryError",
    re.IGNORECASE,
)


def exhaustion(text: str, number: int | None = None) -> NeoError | None:
    """None if it reports none. number: the errno, where there is one."""
    if number in {errno.ENOSPC, errno.EDQUOT} or "No space left on device" in text:
        return disk_full()
    if number == errno.EFBIG or "File too large" in text:
        return ResourceLimitExceeded("the conversion wants to write a larger file than it may")
    if number == errno.ENOMEM or _NO_MEMORY.search(text):
        return memory_exceeded()
    return None


def disk_full(folder: Path | None = None) -> DiskFull:
    """folder: the scratch folder, where it is known."""
    where = "" if folder is None else f" (TMPDIR is {tempfile.gettempdir()}; the files are in {folder})"
    return DiskFull(
        f"the disk is full: the converted model does not fit{where}", hint="make room, or set TMPDIR elsewhere"
    )


def is_disk_full(folder: Path) -> bool:
    """Whether so little is free that what was written last may have been cut short: not every library looks."""
    try:
        return shutil.disk_usage(folder).free < _ALMOST_NOTHING_BYTES
    except OSError:  # it is gone
        return False


def memory_exceeded() -> ResourceLimitExceeded:
    return ResourceLimitExceeded(
        "the conversion ran out of memory", hint="use a machine with more memory, or fix smaller sizes with --input"
    )

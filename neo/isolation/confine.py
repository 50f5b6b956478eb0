"""Limits that a conversion puts on its own process before it touches the model. Standard library only: it must come
before any library that starts threads, because a process with threads cannot enter a new user namespace.

This keeps a model from exhausting the machine and from reaching the network. It is no sandbox for malicious code: files
of the user stay readable.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from neo.isolation.network import leave_network

_PR_SET_PDEATHSIG = 1
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a confined process."""

    #: of private writable memory (RLIMIT_DATA)
    memory_bytes: int
    #: of wall-clock time
    seconds: float
    #: of the largest file that it may write
    file_bytes: int

    @classmethod
    def of_this_machine(cls) -> Limits:
        """Four fifths of the memory, half an hour, files up to 16 GiB."""
        return cls(memory_bytes=max(2 * _GIB, machine_memory_bytes() * 4 // 5), seconds=1800.0, file_bytes=16 * _GIB)

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Limits:
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class Confinement:
    """What a confined process really cannot do; a hard limit that was there before may be lower than what was asked."""

    #: bytes of private writable memory it may have
    memory_bytes: int
    #: bytes of the largest file it may write
    file_bytes: int
    #: "namespace": it has a network of its own, without devices; "filter": it cannot open internet sockets; "": neither
    network: str
    #: why ``network`` is not "namespace", "" if it is
    refused: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def machine_memory_bytes() -> int:
    """What the machine has, or what the control group (container) leaves of it."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            total = min(total, int(Path(path).read_text(encoding="ascii")))
    return total


def confine(limits: Limits) -> Confinement:
    """Applies the limits to this process and its children, for good; -> which of them hold."""
    _lower(resource.RLIMIT_CORE, 0)
    file_bytes = _lower(resource.RLIMIT_FSIZE, limits.file_bytes)
    # not RLIMIT_AS: torch and TensorFlow reserve far more addresses than they use
    memory_bytes = _lower(resource.RLIMIT_DATA, limits.memory_bytes)
    # the parent watches the clock; this is for the case that the parent is gone
    _lower(resource.RLIMIT_CPU, int(limits.seconds * (os.cpu_count() or 1)) + 60)
    if sys.platform != "linux":
        return Confinement(memory_bytes, file_bytes, "", f"not known how on {sys.platform}")
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    return Confinement(memory_bytes, file_bytes, *leave_network())


def _lower(kind: int, value: int) -> int:
    _soft, hard = resource.getrlimit(kind)
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (bound, bound))
    return bound

"""Limits that a conversion puts on its own process before it touches the model. Standard library only: it must come
before any library that starts threads, because a process with threads cannot enter a new user namespace.

This keeps a model from using up the machine and from reaching the network. It is no wall against code that knows it
is caged: files of the user stay readable.
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

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_PDEATHSIG = 1
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Limits:
    """memory_bytes: private writable memory of the conversion (RLIMIT_DATA). seconds: wall-clock time.
    file_bytes: the largest file it may write.
    """

    memory_bytes: int
    seconds: float
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


def machine_memory_bytes() -> int:
    """What the machine has, or what the control group (container) leaves of it."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            total = min(total, int(Path(path).read_text(encoding="ascii")))
    return total


def confine(limits: Limits) -> None:
    """Applies the limits to this process and its children, for good."""
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, limits.file_bytes)
    # not RLIMIT_AS: torch and TensorFlow reserve far more addresses than they use
    _lower(resource.RLIMIT_DATA, limits.memory_bytes)
    # the parent watches the clock; this is for the case that the parent is gone
    _lower(resource.RLIMIT_CPU, int(limits.seconds * (os.cpu_count() or 1)) + 60)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        _leave_network(libc)


def _lower(kind: int, value: int) -> None:
    _soft, hard = resource.getrlimit(kind)
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (bound, bound))


def _leave_network(libc: ctypes.CDLL) -> None:
    """Best effort: root may do it at once, others through a user namespace, where the system allows these."""
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_CLONE_NEWNET) == 0 or libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return
    # without a map the process does not know its own user any more
    for name, content in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with suppress(OSError):
            Path(f"/proc/self/{name}").write_text(content, encoding="ascii")

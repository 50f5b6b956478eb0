"""A process without network: a network namespace of its own, or, where the system refuses that, a system-call filter.

Standard library only, and to be called while the process has one thread: a process with several cannot enter a new
user namespace.
Source of the filter: Documentation/userspace-api/seccomp_filter.rst and <linux/filter.h> of the Linux kernel.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import struct
from contextlib import suppress
from pathlib import Path

NAMESPACE, FILTER = "namespace", "filter"

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, |JGE|K, BPF_RET|K
_ALLOW, _DENY = 0x7FFF0000, 0x00050000 | errno.EACCES  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO
# offsets in struct seccomp_data, little endian
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
# machine -> (AUDIT_ARCH of its native calls, number of socket, first number of another calling convention)
_CALLS = {"x86_64": (0xC000003E, 41, 0x40000000), "aarch64": (0xC00000B7, 198, 0xFFFFFFFF)}
_IO_URING_SETUP = 425  # it can open sockets too; the number is the same everywhere


def leave_network() -> tuple[str, str]:
    """-> (NAMESPACE, FILTER or "" if neither holds; why the stronger one does not, "" if it does)."""
    libc = ctypes.CDLL(None, use_errno=True)
    refused = _enter_namespace(libc)
    if not refused:
        return NAMESPACE, ""
    refused = f"no network namespace: {refused}"
    also = _install_filter(libc)
    return (FILTER, refused) if not also else ("", f"{refused}; no system-call filter: {also}")


def _enter_namespace(libc: ctypes.CDLL) -> str:
    """Root may do it at once, others through a user namespace, where the system allows these; -> why not."""
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_CLONE_NEWNET) == 0:
        return ""
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return os.strerror(ctypes.get_errno())
    # without a map the process does not know its own user any more
    for name, content in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with suppress(OSError):
            Path(f"/proc/self/{name}").write_text(content, encoding="ascii")
    return ""


def _install_filter(libc: ctypes.CDLL) -> str:
    """Sockets of the internet families cannot be opened any more, by this process and its children; -> why not."""
    machine = platform.machine()
    if machine not in _CALLS:
        return f"none is known for {machine}"
    program = _filter_program(*_CALLS[machine])
    instructions = ctypes.create_string_buffer(program, len(program))
    pointer_size = ctypes.sizeof(ctypes.c_void_p)
    # struct sock_fprog: a length in instructions of 8 bytes, padding, a pointer
    header = struct.pack(f"=H{pointer_size - 2}xQ", len(program) // 8, ctypes.addressof(instructions))
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return os.strerror(ctypes.get_errno())
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header, 0, 0) != 0:
        return os.strerror(ctypes.get_errno())
    return ""


def _filter_program(architecture: int, socket_number: int, foreign_numbers: int) -> bytes:
    """Instructions of classic BPF. A call in another calling convention (32-bit, x32) is refused as a whole."""
    rows = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 0, 8, architecture),  # else refuse
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_AT_LEAST, 6, 0, foreign_numbers),
        (_JUMP_EQUAL, 5, 0, _IO_URING_SETUP),
        (_JUMP_EQUAL, 0, 3, socket_number),  # else allow
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_JUMP_EQUAL, 2, 0, socket.AF_INET),
        (_JUMP_EQUAL, 1, 0, socket.AF_INET6),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _DENY),
    ]
    return b"".join(struct.pack("=HBBI", *row) for row in rows)

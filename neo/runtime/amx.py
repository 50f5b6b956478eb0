"""Permission to use the tiles of Intel AMX, which Linux gives to a process that asks for it.

Without it, the first such instruction ends the process. A kernel before 5.16, a virtual machine or a container may
refuse it on a processor that has them.

Source: https://docs.kernel.org/arch/x86/xstate.html
"""

from __future__ import annotations

import ctypes
import platform

_ARCH_PRCTL = 158
_ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILE_DATA = 0x1023, 18


def ask_for_tiles() -> bool:
    """For this process, all its threads, and those it forks. False if they cannot be used."""
    if platform.machine() != "x86_64" or platform.system() != "Linux":
        return False
    numbers = (_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILE_DATA)
    return int(ctypes.CDLL(None).syscall(*map(ctypes.c_long, numbers))) == 0

"""What this machine is, read from Linux's own files."""

from __future__ import annotations

import os
import platform
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from neo.runtime.amx import ask_for_tiles

# instruction sets that matter to compilers and kernels; other flags do not decide which code can run
KNOWN_FEATURES = {
    "x86_64": [
        "sse3",
        "pni",
        "ssse3",
        "sse4_1",
        "sse4_2",
        "popcnt",
        "cx16",
        "lahf_lm",
        "avx",
        "f16c",
        "fma",
        "movbe",
        "bmi1",
        "bmi2",
        "abm",
        "avx2",
        "avx512f",
        "avx512dq",
        "avx512cd",
        "avx512bw",
        "avx512vl",
        "avx512_vnni",
        "avx512_bf16",
        "avx512_fp16",
        "avx512vbmi",
        "avx512_vbmi2",
        "avx512ifma",
        "avx_vnni",
        "amx_tile",
        "amx_int8",
        "amx_bf16",
        "amx_fp16",
    ],
    "aarch64": [
        "fp",
        "asimd",
        "fphp",
        "asimdhp",
        "asimddp",
        "asimdfhm",
        "atomics",
        "crc32",
        "i8mm",
        "bf16",
        "sve",
        "sve2",
    ],
}

# entry of the auxiliary vector, in which the kernel describes an ARM processor -> names of its bits (Linux's
# uapi/asm/hwcap.h)
_CAPABILITIES = {
    16: {
        "fp": 0,
        "asimd": 1,
        "crc32": 7,
        "atomics": 8,
        "fphp": 9,
        "asimdhp": 10,
        "asimddp": 20,
        "sve": 22,
        "asimdfhm": 23,
    },
    26: {"sve2": 1, "i8mm": 13, "bf16": 14},
}


@dataclass(frozen=True, slots=True)
class Host:
    """A machine, as its system describes it. Sizes of caches are 0 if the system does not tell them."""

    #: as `uname -m` prints it
    arch: str
    os: str
    #: its version; "" for another C library
    glibc: str
    #: those of KNOWN_FEATURES, named as in /proc/cpuinfo
    features: tuple[str, ...]
    cores: int
    memory_bytes: int
    #: of one core
    l1d_kib: int
    #: of one core
    l2_kib: int
    #: of the whole processor
    l3_kib: int
    #: of the processor, for people
    model_name: str


def read_host(root: Path = Path("/"), allows_tiles: Callable[[], bool] = ask_for_tiles) -> Host:
    """root: where /proc and /sys are. allows_tiles: may this process use the tiles of AMX?"""
    arch = platform.machine()
    if sys.maxsize < 1 << 32:  # a 32-bit system on a 64-bit kernel, as on many a Raspberry Pi, runs no 64-bit code
        arch = {"x86_64": "i686", "aarch64": "armv7l"}.get(arch, arch)
    cpuinfo = _read(root / "proc/cpuinfo")
    flags = set(_field(cpuinfo, "flags").split() or _field(cpuinfo, "Features").split())
    tiles = {flag for flag in flags if flag.startswith("amx_")}
    if tiles and not allows_tiles():
        flags -= tiles
    if arch == "aarch64":
        flags = _capabilities(root / "proc/self/auxv") or flags
    libc, version = platform.libc_ver()
    caches = _caches(root / "sys/devices/system/cpu/cpu0/cache")
    return Host(
        arch=arch,
        os=platform.system().lower(),
        glibc=version if libc == "glibc" else "",
        features=tuple(name for name in KNOWN_FEATURES.get(arch, ()) if name in flags),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        l1d_kib=caches.get("1", 0),
        l2_kib=caches.get("2", 0),
        l3_kib=caches.get("3", 0),
        model_name=_field(cpuinfo, "model name") or _field(_read(root / "proc/device-tree/model"), "") or arch,
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _field(text: str, name: str) -> str:
    if not name:
        return text.strip("\0\n ")
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _capabilities(auxv: Path) -> set[str]:
    """Features of the processor that this process sees; under emulation, /proc/cpuinfo may describe the real one. Empty
    if the kernel does not tell them.
    """
    try:
        entries = dict(struct.iter_unpack("<QQ", auxv.read_bytes()))
    except (OSError, struct.error):
        return set()
    return {
        name for entry, bits in _CAPABILITIES.items() for name, bit in bits.items() if entries.get(entry, 0) >> bit & 1
    }


def _caches(folder: Path) -> dict[str, int]:
    """{"1": KiB of the data cache, "2": ..., "3": ...}"""
    sizes = {}
    for index in sorted(folder.glob("index*")):
        level, kind, size = (_read(index / leaf).strip() for leaf in ("level", "type", "size"))
        if kind in ("Data", "Unified") and size.endswith("K") and size[:-1].isdigit():
            sizes[level] = int(size[:-1])
    return sizes

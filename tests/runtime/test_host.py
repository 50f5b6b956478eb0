"""A machine is read from Linux's own files; these are what real ones say."""

from __future__ import annotations

import platform
import struct
import sys
from pathlib import Path

import pytest

from neo.runtime.amx import ask_for_tiles
from neo.runtime.host import KNOWN_FEATURES, read_host
from neo.targets import host_target

X86 = """\
processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Platinum 8488C
flags\t\t: fpu pni ssse3 fma cx16 sse4_1 sse4_2 movbe popcnt avx f16c lahf_lm abm bmi1 avx2 bmi2 amx_tile amx_bf16
bugs\t\t: spectre_v1
processor\t: 1
model name\t: another core
flags\t\t: fpu
"""

RASPBERRY_PI_4 = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU part\t: 0xd08

Hardware\t: BCM2835
Revision\t: c03114
Model\t\t: Raspberry Pi 4 Model B Rev 1.4
"""


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def cache(index: int, level: str, kind: str, size: str) -> dict[str, str]:
    folder = f"sys/devices/system/cpu/cpu0/cache/index{index}"
    return {f"{folder}/level": level + "\n", f"{folder}/type": kind + "\n", f"{folder}/size": size + "\n"}


def on(monkeypatch: pytest.MonkeyPatch, arch: str) -> None:
    monkeypatch.setattr(platform, "machine", lambda: arch)


def test_an_x86_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "x86_64")
    files = {
        "proc/cpuinfo": X86,
        **cache(0, "1", "Data", "48K"),
        **cache(1, "1", "Instruction", "32K"),
        **cache(2, "2", "Unified", "2048K"),
        **cache(3, "3", "Unified", "107520K"),
    }
    host = read_host(write(tmp_path, files), allows_tiles=lambda: True)
    assert host.arch == "x86_64"
    assert host.model_name == "Intel(R) Xeon(R) Platinum 8488C"
    assert (host.l1d_kib, host.l2_kib, host.l3_kib) == (48, 2048, 107520)
    assert {"pni", "avx2", "fma", "amx_tile", "amx_bf16"} <= set(host.features)
    assert "fpu" not in host.features  # it says nothing about which code may run
    target = host_target(host)
    assert (target.cpu.mcpu, target.cpu.vector_bits, target.cpu.vector_registers) == ("x86-64", 256, 16)
    assert {"+sse3", "+sse4.1", "+lzcnt", "+sahf", "+amx-tile", "+amx-bf16"} <= set(target.cpu.attrs)


def test_a_system_that_does_not_let_us_use_tiles_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "x86_64")
    host = read_host(write(tmp_path, {"proc/cpuinfo": X86}), allows_tiles=lambda: False)
    assert {"pni", "avx2", "fma"} <= set(host.features)
    assert not any(feature.startswith("amx") for feature in host.features)


def test_a_raspberry_pi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "aarch64")
    model = "Raspberry Pi 4 Model B Rev 1.4"
    files = {"proc/cpuinfo": RASPBERRY_PI_4, "proc/device-tree/model": model + "\0"}
    host = read_host(write(tmp_path, files))
    assert host.model_name == model
    assert host.features == ("fp", "asimd", "crc32")
    assert (host.l1d_kib, host.l2_kib, host.l3_kib) == (0, 0, 0)  # its kernel does not say
    target = host_target(host)
    assert (target.cpu.mcpu, target.cpu.vector_bits, target.cpu.vector_registers) == ("generic", 128, 32)
    assert target.cpu.attrs == ("+fp-armv8", "+neon", "+crc")


@pytest.mark.parametrize(
    ("capabilities", "more", "features"),
    [
        (0x8FB, 0, ("fp", "asimd", "crc32")),  # Cortex-A72
        (0x3, 1 << 13 | 1 << 14, ("fp", "asimd", "i8mm", "bf16")),
        (0xECFFFFFB, 0x7F877FFF, tuple(KNOWN_FEATURES["aarch64"])),
    ],
)
def test_an_arm_processor_is_what_the_kernel_tells_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capabilities: int, more: int, features: tuple[str, ...]
) -> None:
    """An emulated process finds the other processor in /proc/cpuinfo."""
    on(monkeypatch, "aarch64")
    root = write(tmp_path, {"proc/cpuinfo": X86, "proc/self/auxv": ""})
    (root / "proc/self/auxv").write_bytes(struct.pack("<8Q", 6, 4096, 16, capabilities, 26, more, 0, 0))
    assert set(read_host(root).features) == set(features)


@pytest.mark.parametrize("auxv", [b"", b"x" * 15, struct.pack("<2Q", 0, 0)])
def test_without_a_word_from_the_kernel_the_processor_is_what_cpuinfo_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, auxv: bytes
) -> None:
    on(monkeypatch, "aarch64")
    root = write(tmp_path, {"proc/cpuinfo": RASPBERRY_PI_4, "proc/self/auxv": ""})
    (root / "proc/self/auxv").write_bytes(auxv)
    assert read_host(root).features == ("fp", "asimd", "crc32")


def test_a_32_bit_system_on_a_64_bit_kernel_is_32_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "aarch64")
    monkeypatch.setattr(sys, "maxsize", (1 << 31) - 1)
    assert read_host(write(tmp_path, {"proc/cpuinfo": RASPBERRY_PI_4})).arch == "armv7l"


@pytest.mark.parametrize("cpuinfo", ["", "flags", ":", "flags:\n", "\0" * 10, "\ufffd: x", "model name\t:\n"])
def test_a_machine_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpuinfo: str) -> None:
    on(monkeypatch, "x86_64")
    host = read_host(write(tmp_path, {"proc/cpuinfo": cpuinfo, **cache(0, "1", "Data", "unknown")}))
    assert host.features == ()
    assert host.model_name == "x86_64"
    assert (host.l1d_kib, host.cores > 0, host.memory_bytes > 0) == (0, True, True)


def test_a_machine_without_proc(tmp_path: Path) -> None:
    assert read_host(tmp_path / "nothing").features == ()


def test_another_c_library_is_no_glibc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("musl", "1.2.4"))
    assert read_host(tmp_path).glibc == ""


def test_this_machine() -> None:
    host = read_host()
    assert host.os == "linux"
    assert set(host.features) <= set(KNOWN_FEATURES[host.arch])
    assert host.memory_bytes > 1 << 28
    assert ask_for_tiles() or not any(feature.startswith("amx") for feature in host.features)


def test_another_processor_is_not_asked_for_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "aarch64")  # where the number of the system call means another one
    assert not ask_for_tiles()

"""Accelerators beside the processor: what a target has, what a bundle needs of one, and what a device has.

Architectures are compute capabilities, as in "8.7"; drivers are the version of the programming interface that the
driver implements, as in "12.2". Machine code runs on its own major version from its own minor version on, that for
Tegra (Jetson) on its own architecture alone; PTX, which the driver compiles, on every later one.
Source: https://docs.nvidia.com/cuda/cuda-c-programming-guide/, binary compatibility and PTX compatibility.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from neo.contract.fields import (
    ContractError,
    as_object,
    as_string,
    get,
    get_list,
    get_size,
)
from neo.contract.names import parse_name, parse_version, version_key

CUDA = "cuda"
#: a device, a target or a bundle has at most so many
MAX_ACCELERATORS = 16
MAX_ARCHS = 32
MAX_GPU_NAME = 200
#: of Tegra: their machine code runs on no other, nor that of others on them
TEGRA = frozenset(["5.3", "6.2", "7.2", "8.7"])

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class AcceleratorNeed:
    """One accelerator without which the code does not run."""

    #: the programming interface: "cuda"
    kind: str
    #: compute capabilities that there is machine code for
    archs: tuple[str, ...]
    #: the compute capability of the PTX beside it, "" for none
    ptx: str = ""
    #: the oldest driver, "" for any
    driver: str = ""
    #: bytes of memory that the model takes on the accelerator, 0 if that is not known
    memory_bytes: int = 0

    @classmethod
    def from_json(cls, value: Any) -> AcceleratorNeed:
        what = "requires.accelerator"
        obj = as_object(value, what)
        return cls(*_code(obj, what), memory_bytes=get_size({"memory_bytes": 0} | obj, "memory_bytes", what))

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "archs": list(self.archs),
            "ptx": self.ptx,
            "driver": self.driver,
            "memory_bytes": self.memory_bytes,
        }


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One accelerator of a target, as ``[[accelerator]]`` of a ``targets/*.toml`` describes it."""

    #: the programming interface: "cuda"
    kind: str
    #: compute capabilities to compile machine code for
    archs: tuple[str, ...]
    #: the compute capability to compile PTX for, "" for none
    ptx: str = ""
    #: the oldest driver that the code must load on, "" for any
    driver: str = ""
    #: memory in MiB, 0 if it differs from one device to another
    memory_mib: int = 0

    @property
    def need(self) -> AcceleratorNeed:
        """What any model that is built for it needs; how much memory depends on the model."""
        return AcceleratorNeed(self.kind, self.archs, self.ptx, self.driver)

    @classmethod
    def from_json(cls, value: Any) -> Accelerator:
        what = "target.accelerator"
        obj = as_object(value, what)
        return cls(*_code(obj, what), memory_mib=get_size({"memory_mib": 0} | obj, "memory_mib", what))

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "archs": list(self.archs),
            "ptx": self.ptx,
            "driver": self.driver,
            "memory_mib": self.memory_mib,
        }


@dataclass(frozen=True, slots=True)
class Gpu:
    """One accelerator that a device has."""

    #: the programming interface: "cuda"
    kind: str
    #: as its driver calls it, for people
    name: str
    compute_capability: str
    driver: str
    #: all of it; where it shares the processor's, that
    memory_bytes: int

    @classmethod
    def from_json(cls, value: Any) -> Gpu:
        what = "capabilities.accelerator"
        obj = as_object(value, what)
        name = get(obj, "name", str, what)
        if len(name) > MAX_GPU_NAME:
            raise ContractError(f"{what}.name has {len(name)} characters; at most {MAX_GPU_NAME} are read")
        return cls(
            parse_name(obj.get("kind"), f"{what}.kind"),
            name,
            parse_version(obj.get("compute_capability"), f"{what}.compute_capability"),
            parse_version(obj.get("driver"), f"{what}.driver"),
            get_size(obj, "memory_bytes", what),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "name": self.name,
            "compute_capability": self.compute_capability,
            "driver": self.driver,
            "memory_bytes": self.memory_bytes,
        }


def accelerator_mismatches(needs: Iterable[AcceleratorNeed], gpus: Iterable[Gpu]) -> tuple[str, ...]:
    """Every reason why a device with these has not what is needed, in words; () if it has."""
    found = tuple(gpus)
    return tuple(reason for need in needs for reason in _missing(need, found))


def _missing(need: AcceleratorNeed, gpus: tuple[Gpu, ...]) -> tuple[str, ...]:
    """Of the accelerator that lacks the least."""
    kind = need.kind.upper()
    reasons = [tuple(_reasons(need, gpu)) for gpu in gpus if gpu.kind == need.kind]
    return min(reasons, key=len) if reasons else (f"needs a {kind} accelerator, the device has none",)


def _reasons(need: AcceleratorNeed, gpu: Gpu) -> Iterator[str]:
    kind = need.kind.upper()
    if not _runs(need, gpu.compute_capability):
        code = [*need.archs, *([f"{need.ptx} and later"] if need.ptx else [])]
        yield f"has code for compute capability {', '.join(code) or 'none'}, the device has {gpu.compute_capability}"
    if need.driver and version_key(gpu.driver) < version_key(need.driver):
        yield f"needs {kind} driver {need.driver}, the device has {gpu.driver}"
    if gpu.memory_bytes < need.memory_bytes:
        yield (
            f"needs {-(-need.memory_bytes // MIB)} MiB of {kind} memory, the device has {gpu.memory_bytes // MIB} MiB"
        )


def _runs(need: AcceleratorNeed, device: str) -> bool:
    if need.ptx and version_key(device) >= version_key(need.ptx):
        return True
    return any(_runs_machine_code(arch, device) for arch in need.archs)


def _runs_machine_code(arch: str, device: str) -> bool:
    code, own = version_key(arch), version_key(device)
    if code == own:
        return True
    desktop = not TEGRA & {arch, device}
    return desktop and code[:1] == own[:1] and code <= own


def _code(obj: dict[str, Any], what: str) -> tuple[str, tuple[str, ...], str, str]:
    """-> kind, archs, ptx, driver"""
    archs = get_list(obj, "archs", lambda arch: parse_version(arch, f"{what}.archs[]"), what, most=MAX_ARCHS)
    ptx, driver = (as_string(obj.get(key, ""), f"{what}.{key}") for key in ("ptx", "driver"))
    for key, version in (("ptx", ptx), ("driver", driver)):
        if version:
            parse_version(version, f"{what}.{key}")
    return parse_name(obj.get("kind"), f"{what}.kind"), archs, ptx, driver

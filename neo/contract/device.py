"""Target: what a bundle is built for. Capabilities: what a device is. ``mismatches`` holds one against the other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from neo.contract.fields import (
    ContractError,
    as_object,
    as_string,
    dump_object,
    get,
    get_size,
    get_strings,
    parse_object,
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# bounded: a version comes from another machine, and Python refuses to read numbers of thousands of digits
_VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,7}")


def parse_name(value: Any, what: str) -> str:
    """A name that may stand in a topic, a tag and a path: letters, digits, '.', '_', '-'; 64 at most."""
    text = as_string(value, what)
    if not _NAME.fullmatch(text):
        raise ContractError(
            f"{what} is {text[:80]!r}",
            hint="use 1 to 64 letters, digits, '.', '_' or '-', the first a letter or a digit",
        )
    return text


def is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Target:
    """One kind of device, as a ``targets/*.toml`` describes it.

    arch: as `uname -m` prints it. mcpu: LLVM's name of the processor. features: instruction sets the code may use,
    as Linux names them (/proc/cpuinfo); a device without one of them refuses the bundle. attrs: the same for LLVM
    ("+avx2"). vector_bits, vector_registers, l1d_kib, l2_kib (per core), l3_kib, cores: what schedules are sized to.
    glibc: the oldest C library the code must load on.
    """

    name: str
    description: str
    arch: str
    mcpu: str
    features: tuple[str, ...]
    attrs: tuple[str, ...]
    vector_bits: int
    vector_registers: int
    cores: int
    l1d_kib: int
    l2_kib: int
    l3_kib: int
    glibc: str
    engines: tuple[str, ...] = ("onnxruntime", "tvm")

    @property
    def triple(self) -> str:
        return f"{self.arch}-linux-gnu"

    @property
    def operand_registers(self) -> int:
        """Vector registers for sums and operands: without fused multiply-adds, one is for the products between."""
        fuses = self.arch != "x86_64" or "fma" in self.features
        return self.vector_registers if fuses else self.vector_registers - 1

    @property
    def requirements(self) -> Requirements:
        return Requirements(self.arch, "linux", self.features, self.glibc)

    @classmethod
    def from_json(cls, value: Any) -> Target:
        obj = as_object(value, "target")
        cpu = as_object(obj.get("cpu"), "target.cpu")
        return cls(
            parse_name(obj.get("name"), "target.name"),
            get(obj, "description", str, "target"),
            get(cpu, "arch", str, "target.cpu"),
            get(cpu, "mcpu", str, "target.cpu"),
            get_strings(cpu, "features", "target.cpu"),
            get_strings(cpu, "attrs", "target.cpu"),
            _at_least_one(cpu, "vector_bits"),
            _at_least_one(cpu, "vector_registers"),
            _at_least_one(cpu, "cores"),
            get_size(cpu, "l1d_kib", "target.cpu"),
            get_size(cpu, "l2_kib", "target.cpu"),
            get_size(cpu, "l3_kib", "target.cpu"),
            parse_version(obj.get("glibc"), "target.glibc"),
            get_strings(obj, "engines", "target"),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "description": self.description,
            "glibc": self.glibc,
            "engines": list(self.engines),
            "cpu": {
                "arch": self.arch,
                "mcpu": self.mcpu,
                "features": list(self.features),
                "attrs": list(self.attrs),
                "vector_bits": self.vector_bits,
                "vector_registers": self.vector_registers,
                "cores": self.cores,
                "l1d_kib": self.l1d_kib,
                "l2_kib": self.l2_kib,
                "l3_kib": self.l3_kib,
            },
        }


@dataclass(frozen=True, slots=True)
class Requirements:
    """What the device must be for the bundle's code to run at all.

    engines: engines that run parts of the model beside the bundle's own, each with its version as ``mismatches`` reads
    it.
    """

    arch: str
    os: str
    features: tuple[str, ...]
    glibc: str
    engines: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: Any) -> Requirements:
        obj = as_object(value, "requires")
        return cls(
            get(obj, "arch", str, "requires"),
            get(obj, "os", str, "requires"),
            get_strings(obj, "features", "requires"),
            parse_version(obj.get("glibc"), "requires.glibc"),
            {
                parse_name(name, "requires.engines"): parse_wanted_version(version, f"requires.engines.{name}")
                for name, version in as_object(obj.get("engines", {}), "requires.engines").items()
            },
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "arch": self.arch,
            "os": self.os,
            "features": list(self.features),
            "glibc": self.glibc,
            "engines": self.engines,
        }


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an agent tells about its device.

    engines: engine name -> version of the library that runs it; an engine that is absent cannot run there.
    glibc: "" where the C library is another one. memory_bytes, storage_bytes: total memory, free space for models.
    """

    device_id: str
    agent_version: str
    arch: str
    os: str
    glibc: str
    features: tuple[str, ...]
    cores: int
    memory_bytes: int
    storage_bytes: int
    engines: dict[str, str]

    @classmethod
    def from_bytes(cls, data: bytes) -> Capabilities:
        obj = parse_object(data, what="capabilities")
        engines = as_object(obj.get("engines"), "capabilities.engines")
        return cls(
            parse_name(obj.get("device_id"), "capabilities.device_id"),
            get(obj, "agent_version", str, "capabilities"),
            get(obj, "arch", str, "capabilities"),
            get(obj, "os", str, "capabilities"),
            as_string(obj.get("glibc"), "capabilities.glibc"),
            get_strings(obj, "features", "capabilities"),
            get_size(obj, "cores", "capabilities"),
            get_size(obj, "memory_bytes", "capabilities"),
            get_size(obj, "storage_bytes", "capabilities"),
            {name: as_string(version, f"capabilities.engines.{name}") for name, version in engines.items()},
        )

    def to_bytes(self) -> bytes:
        return dump_object(
            {
                "device_id": self.device_id,
                "agent_version": self.agent_version,
                "arch": self.arch,
                "os": self.os,
                "glibc": self.glibc,
                "features": list(self.features),
                "cores": self.cores,
                "memory_bytes": self.memory_bytes,
                "storage_bytes": self.storage_bytes,
                "engines": self.engines,
            }
        )


def mismatches(requires: Requirements, engine: str, engine_version: str, device: Capabilities) -> tuple[str, ...]:
    """Every reason why the device cannot run the bundle, in words; () if it can.

    engine_version: the exact version that the device must have, or ">=X" for a floor, or "" for any.
    """
    reasons = list(processor_mismatches(requires, device.arch, device.os, device.features))
    if not device.glibc or _version_key(device.glibc) < _version_key(requires.glibc):
        reasons.append(f"needs glibc {requires.glibc}, the device has {device.glibc or 'another C library'}")
    for name, version in {engine: engine_version, **requires.engines}.items():
        have = device.engines.get(name)
        if have is None:
            reasons.append(f"the device has no {name} engine (it has: {', '.join(sorted(device.engines)) or 'none'})")
        elif not _satisfies(have, version):
            reasons.append(f"needs the {name} runtime {version}, the device has {have}")
    return tuple(reasons)


def processor_mismatches(requires: Requirements, arch: str, os: str, features: Sequence[str]) -> tuple[str, ...]:
    """Why machine code for the requirements cannot run on such a device, in words; () if it can."""
    if (requires.arch, requires.os) != (arch, os):
        return (f"built for {requires.arch} {requires.os}, the device is {arch} {os}",)
    missing = sorted(set(requires.features) - set(features))
    return (f"the device's processor lacks {', '.join(missing)}",) if missing else ()


def parse_version(value: Any, what: str) -> str:
    text = as_string(value, what)
    if not _VERSION.fullmatch(text):
        raise ContractError(f"{what} is {text[:40]!r}; a version is numbers and dots, as in 2.28")
    return text


def parse_wanted_version(value: Any, what: str) -> str:
    """What ``mismatches`` takes as an engine version: an exact version, ">=X", or "" for any."""
    text = as_string(value, what)
    if text.startswith(">="):
        parse_version(text[2:], what)
    return text


def _at_least_one(cpu: dict[str, Any], key: str) -> int:
    value = get_size(cpu, key, "target.cpu")
    if value == 0:
        raise ContractError(f"target.cpu.{key} is 0; it is at least 1")
    return value


def _satisfies(have: str, wanted: str) -> bool:
    if wanted.startswith(">="):
        return _version_key(have) >= _version_key(wanted[2:])
    return not wanted or have == wanted


def _version_key(version: str) -> tuple[int, ...]:
    match = _VERSION.match(version)
    parts = [int(part) for part in match[0].split(".")] if match else []
    while parts and parts[-1] == 0:  # 2.28 and 2.28.0 are one version
        parts.pop()
    return tuple(parts)

"""One kind of device, as a ``targets/*.toml`` describes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from neo.contract.device.accelerators import MAX_ACCELERATORS, Accelerator
from neo.contract.device.requirements import Requirements
from neo.contract.fields import ContractError, as_object, get, get_list, get_size, get_strings
from neo.contract.names import parse_name, parse_version


@dataclass(frozen=True, slots=True)
class Processor:
    """The host processor of a target: ``[cpu]`` of its file. Schedules are sized to the numbers."""

    #: as `uname -m` prints it
    arch: str
    #: LLVM's name of the processor
    mcpu: str
    #: instruction sets the code may use, as Linux names them (/proc/cpuinfo); a device without one refuses the bundle
    features: tuple[str, ...]
    #: the same for LLVM ("+avx2")
    attrs: tuple[str, ...]
    vector_bits: int
    vector_registers: int
    cores: int
    #: per core
    l1d_kib: int
    #: per core
    l2_kib: int
    l3_kib: int

    @property
    def triple(self) -> str:
        return f"{self.arch}-linux-gnu"

    @property
    def operand_registers(self) -> int:
        """Vector registers for sums and operands: without fused multiply-adds, one is for the products between."""
        fuses = self.arch != "x86_64" or "fma" in self.features
        return self.vector_registers if fuses else self.vector_registers - 1

    @classmethod
    def from_json(cls, value: Any) -> Processor:
        what = "target.cpu"
        cpu = as_object(value, what)
        return cls(
            get(cpu, "arch", str, what),
            get(cpu, "mcpu", str, what),
            get_strings(cpu, "features", what),
            get_strings(cpu, "attrs", what),
            _at_least_one(cpu, "vector_bits"),
            _at_least_one(cpu, "vector_registers"),
            _at_least_one(cpu, "cores"),
            get_size(cpu, "l1d_kib", what),
            get_size(cpu, "l2_kib", what),
            get_size(cpu, "l3_kib", what),
        )

    def to_json(self) -> dict[str, Any]:
        return {
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
        }


@dataclass(frozen=True, slots=True)
class Target:
    """A host processor, and the accelerators beside it."""

    name: str
    description: str
    cpu: Processor
    #: the oldest C library the code must load on
    glibc: str
    #: those that may be built for it; None for every engine that has code for its processor
    engines: tuple[str, ...] | None = None
    accelerators: tuple[Accelerator, ...] = ()

    @property
    def requirements(self) -> Requirements:
        """Of code for the processor; an engine that computes on an accelerator adds what it needs of that."""
        return Requirements(self.cpu.arch, "linux", self.cpu.features, self.glibc)

    @classmethod
    def from_json(cls, value: Any) -> Target:
        obj = as_object(value, "target")
        accelerators = get_list(
            {"accelerator": []} | obj, "accelerator", Accelerator.from_json, "target", most=MAX_ACCELERATORS
        )
        return cls(
            parse_name(obj.get("name"), "target.name"),
            get(obj, "description", str, "target"),
            Processor.from_json(obj.get("cpu")),
            parse_version(obj.get("glibc"), "target.glibc"),
            get_strings(obj, "engines", "target") if "engines" in obj else None,
            accelerators,
        )

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {
            "name": self.name,
            "description": self.description,
            "glibc": self.glibc,
            "cpu": self.cpu.to_json(),
            "accelerator": [accelerator.to_json() for accelerator in self.accelerators],
        }
        if self.engines is not None:
            value["engines"] = list(self.engines)
        return value


def _at_least_one(cpu: dict[str, Any], key: str) -> int:
    value = get_size(cpu, key, "target.cpu")
    if value == 0:
        raise ContractError(f"target.cpu.{key} is 0; it is at least 1")
    return value

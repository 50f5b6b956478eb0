"""What a bundle needs of a device, and why one does not have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from neo.contract.device.accelerators import MAX_ACCELERATORS, AcceleratorNeed, accelerator_mismatches
from neo.contract.device.capabilities import Capabilities
from neo.contract.fields import as_object, get, get_list, get_strings
from neo.contract.names import parse_name, parse_version, parse_wanted_version, satisfies, version_key


@dataclass(frozen=True, slots=True)
class Requirements:
    """What the device must be for the bundle's code to run at all."""

    arch: str
    os: str
    features: tuple[str, ...]
    glibc: str
    #: engines that run parts of the model beside the bundle's own, each with its version as ``satisfies`` reads it
    engines: dict[str, str] = field(default_factory=dict)
    #: each of them is needed
    accelerators: tuple[AcceleratorNeed, ...] = ()

    @classmethod
    def from_json(cls, value: Any) -> Requirements:
        obj = as_object(value, "requires")
        # documents of version 1 have no accelerators
        accelerators = get_list(
            {"accelerators": []} | obj, "accelerators", AcceleratorNeed.from_json, "requires", most=MAX_ACCELERATORS
        )
        return cls(
            get(obj, "arch", str, "requires"),
            get(obj, "os", str, "requires"),
            get_strings(obj, "features", "requires"),
            parse_version(obj.get("glibc"), "requires.glibc"),
            {
                parse_name(name, "requires.engines"): parse_wanted_version(version, f"requires.engines.{name}")
                for name, version in as_object(obj.get("engines", {}), "requires.engines").items()
            },
            accelerators,
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "arch": self.arch,
            "os": self.os,
            "features": list(self.features),
            "glibc": self.glibc,
            "engines": self.engines,
            "accelerators": [need.to_json() for need in self.accelerators],
        }


def mismatches(requires: Requirements, engine: str, engine_version: str, device: Capabilities) -> tuple[str, ...]:
    """Every reason why the device cannot run the bundle, in words; () if it can.

    engine_version: the exact version that the device must have, or ">=X" for a floor, or "" for any.
    """
    reasons = list(processor_mismatches(requires, device.arch, device.os, device.features))
    if not device.glibc or version_key(device.glibc) < version_key(requires.glibc):
        reasons.append(f"needs glibc {requires.glibc}, the device has {device.glibc or 'another C library'}")
    for name, version in {engine: engine_version, **requires.engines}.items():
        have = device.engines.get(name)
        if have is None:
            reasons.append(f"the device has no {name} engine (it has: {', '.join(sorted(device.engines)) or 'none'})")
        elif not satisfies(have, version):
            reasons.append(f"needs the {name} runtime {version}, the device has {have}")
    return (*reasons, *accelerator_mismatches(requires.accelerators, device.accelerators))


def processor_mismatches(requires: Requirements, arch: str, os: str, features: Sequence[str]) -> tuple[str, ...]:
    """Why machine code for the requirements cannot run on such a device, in words; () if it can."""
    if (requires.arch, requires.os) != (arch, os):
        return (f"built for {requires.arch} {requires.os}, the device is {arch} {os}",)
    missing = sorted(set(requires.features) - set(features))
    return (f"the device's processor lacks {', '.join(missing)}",) if missing else ()

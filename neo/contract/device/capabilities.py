"""What an agent tells about its device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from neo.contract.device.accelerators import MAX_ACCELERATORS, Gpu
from neo.contract.fields import as_object, as_string, dump_object, get, get_list, get_size, get_strings, parse_object
from neo.contract.names import parse_name
from neo.contract.versions import VERSION_KEY, require_version

_WHAT = "capabilities"
#: a version of its own; 1 is also what did not say one
CAPABILITIES_VERSION = 1


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an agent tells about its device."""

    device_id: str
    agent_version: str
    arch: str
    os: str
    #: "" where the C library is another one
    glibc: str
    features: tuple[str, ...]
    cores: int
    #: in total
    memory_bytes: int
    #: free space for models
    storage_bytes: int
    #: engine name -> version of the library that runs it; an engine that is absent cannot run there
    engines: dict[str, str]
    #: () also from agents that do not look for them
    accelerators: tuple[Gpu, ...] = ()

    @classmethod
    def from_bytes(cls, data: bytes) -> Capabilities:
        obj = {"accelerators": []} | parse_object(data, what=_WHAT)
        require_version(obj, CAPABILITIES_VERSION, _WHAT)
        engines = as_object(obj.get("engines"), f"{_WHAT}.engines")
        return cls(
            parse_name(obj.get("device_id"), f"{_WHAT}.device_id"),
            get(obj, "agent_version", str, _WHAT),
            get(obj, "arch", str, _WHAT),
            get(obj, "os", str, _WHAT),
            as_string(obj.get("glibc"), f"{_WHAT}.glibc"),
            get_strings(obj, "features", _WHAT),
            get_size(obj, "cores", _WHAT),
            get_size(obj, "memory_bytes", _WHAT),
            get_size(obj, "storage_bytes", _WHAT),
            {name: as_string(version, f"{_WHAT}.engines.{name}") for name, version in engines.items()},
            get_list(obj, "accelerators", Gpu.from_json, _WHAT, most=MAX_ACCELERATORS),
        )

    def to_bytes(self) -> bytes:
        value: dict[str, Any] = {
            VERSION_KEY: CAPABILITIES_VERSION,
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
        if self.accelerators:
            value["accelerators"] = [gpu.to_json() for gpu in self.accelerators]
        return dump_object(value)

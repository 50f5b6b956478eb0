"""Manifest: the config blob of a bundle; says what the files are for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from neo.contract.device import Requirements, parse_name, parse_wanted_version
from neo.contract.fields import ContractError, as_object, dump_object, get, get_list, parse_object
from neo.contract.labels import OutputLabels
from neo.contract.parity import Tolerance
from neo.contract.tensors import TensorSpec

BUNDLE_TYPE = "application/vnd.neo-edge.bundle.v1"
CONFIG_TYPE = "application/vnd.neo-edge.bundle.config.v1+json"
FILE_TYPE = "application/vnd.neo-edge.file.v1"
SCHEMA = 1

CONFIG_PATH = "manifest.json"
ENGINE_DIR = "engine"
GOLDEN_PATH = "golden.npz"
REPORT_PATH = "report.json"


@dataclass(frozen=True, slots=True)
class Manifest:
    """name, version: of the model. target: the name the user gave. requires: what the device must be.

    engine: "onnxruntime" or "tvm", its files under engine/. engine_version: see ``contract.device.mismatches``.
    source: the framework the model came from. tolerance: how far the device's answers to the golden samples may be
    from the source framework's. labels: () for outputs without; readers older than this field pass over it.
    """

    name: str
    version: str
    target: str
    requires: Requirements
    engine: str
    engine_version: str
    precision: str
    source: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    tolerance: Tolerance
    labels: tuple[OutputLabels, ...] = ()

    @property
    def reference(self) -> str:
        return f"{self.name}:{self.version}-{self.target}"

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        what = "bundle manifest"
        obj = parse_object(data, what=what)
        if obj.get("schema") != SCHEMA:
            raise ContractError(
                f"{what} has schema {obj.get('schema')!r}; this version reads {SCHEMA}",
                hint="use the same version of neo-edge on the builder and on the device",
            )
        engine = as_object(obj.get("engine"), f"{what}.engine")
        return cls(
            parse_name(obj.get("name"), f"{what}.name"),
            parse_name(obj.get("version"), f"{what}.version"),
            parse_name(obj.get("target"), f"{what}.target"),
            Requirements.from_json(obj.get("requires")),
            parse_name(engine.get("name"), f"{what}.engine.name"),
            parse_wanted_version(engine.get("version"), f"{what}.engine.version"),
            get(obj, "precision", str, what),
            get(obj, "source", str, what),
            get_list(obj, "inputs", TensorSpec.from_json, what),
            get_list(obj, "outputs", TensorSpec.from_json, what),
            Tolerance.from_json(obj.get("tolerance")),
            get_list(obj, "labels", OutputLabels.from_json, what) if "labels" in obj else (),
        )

    def to_bytes(self) -> bytes:
        obj: dict[str, Any] = {
            "schema": SCHEMA,
            "name": self.name,
            "version": self.version,
            "target": self.target,
            "requires": self.requires.to_json(),
            "engine": {"name": self.engine, "version": self.engine_version},
            "precision": self.precision,
            "source": self.source,
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
            "tolerance": self.tolerance.to_json(),
        }
        if self.labels:
            obj["labels"] = [entry.to_json() for entry in self.labels]
        return dump_object(obj)


def parse_path(text: str) -> PurePosixPath:
    """A file's place inside a bundle. Raises ContractError for anything that could leave the bundle's folder."""
    path = PurePosixPath(text)
    parts = text.split("/")
    bad = not text or len(text) > 512 or text.startswith("/") or "\\" in text or "\0" in text
    if bad or any(part in ("", ".", "..") or len(part) > 200 for part in parts):
        raise ContractError(f"{text[:80]!r} is no file path inside a bundle")
    return path

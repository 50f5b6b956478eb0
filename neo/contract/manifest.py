"""Manifest: the config blob of a bundle; says what the files are for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from neo.contract.device import Requirements, parse_name, parse_wanted_version
from neo.contract.fields import ContractError, as_object, as_string, dump_object, get, get_list, get_size, parse_object
from neo.contract.labels import OutputLabels
from neo.contract.oci import MAX_LAYERS, parse_digest
from neo.contract.parity import Tolerance
from neo.contract.tensors import TensorSpec
from neo.contract.versions import VERSION_KEY, read_versioned

BUNDLE_TYPE = "application/vnd.neo-edge.bundle.v1"
CONFIG_TYPE = "application/vnd.neo-edge.bundle.config.v1+json"
#: of the OCI image index with the variants of one release
RELEASE_TYPE = "application/vnd.neo-edge.release.v1"
FILE_TYPE = "application/vnd.neo-edge.file.v1"
MANIFEST_VERSION = 2

CONFIG_PATH = "manifest.json"
ENGINE_DIR = "engine"
#: of version 1: inputs and outputs in one file
GOLDEN_PATH = "golden.npz"
#: two files from version 2 on: the inputs depend on the model's interface alone, and are not sent again
GOLDEN_INPUTS_PATH = "golden-inputs.npz"
GOLDEN_OUTPUTS_PATH = "golden-outputs.npz"
REPORT_PATH = "report.json"

MAX_ALTERNATIVES = 16
MAX_LAYER_PRECISIONS = 4096
MAX_LAYER_NAME = 256
MAX_CHUNK_BYTES = 64 << 20
_WHAT = "bundle manifest"


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another engine in the same bundle, or the same one with other kernels: a device may take it in its self-test."""

    engine: str
    engine_version: str
    #: of the answers; see ``Manifest.precision``
    precision: str
    requires: Requirements
    #: where its files are, beside the builder's choice in ``engine``
    folder: str

    @classmethod
    def from_json(cls, value: Any) -> Alternative:
        what = f"{_WHAT}.alternative"
        obj = as_object(value, what)
        engine = as_object(obj.get("engine"), f"{what}.engine")
        folder = as_string(obj.get("folder"), f"{what}.folder")
        return cls(
            parse_name(engine.get("name"), f"{what}.engine.name"),
            parse_wanted_version(engine.get("version"), f"{what}.engine.version"),
            get(obj, "precision", str, what),
            Requirements.from_json(obj.get("requires")),
            parse_path(folder).as_posix(),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "engine": {"name": self.engine, "version": self.engine_version},
            "precision": self.precision,
            "requires": self.requires.to_json(),
            "folder": self.folder,
        }


@dataclass(frozen=True, slots=True)
class ChunkTable:
    """The digests of a blob's chunks, so that each can be checked when it arrives.

    The table is a blob itself: the sha256 of every chunk in order, 32 bytes each and nothing else. The last chunk is
    what is left of the blob.
    """

    #: digest of the blob that is sent in chunks
    blob: str
    #: digest of the table
    table: str
    chunk_bytes: int

    @classmethod
    def from_json(cls, value: Any) -> ChunkTable:
        what = f"{_WHAT}.chunks"
        obj = as_object(value, what)
        chunk_bytes = get_size(obj, "chunk_bytes", what)
        if not 0 < chunk_bytes <= MAX_CHUNK_BYTES:
            raise ContractError(f"{what}.chunk_bytes is {chunk_bytes}; 1 to {MAX_CHUNK_BYTES} are read")
        return cls(
            parse_digest(obj.get("blob"), f"{what}.blob"), parse_digest(obj.get("table"), f"{what}.table"), chunk_bytes
        )

    def to_json(self) -> dict[str, Any]:
        return {"blob": self.blob, "table": self.table, "chunk_bytes": self.chunk_bytes}


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle is: one variant, for one target, of a release of a model."""

    #: of the model
    name: str
    #: of the release
    version: str
    #: what this variant is built for, by the name that the user gave
    target: str
    #: what the device must be
    requires: Requirements
    #: "onnxruntime" or "tvm", its files under engine/
    engine: str
    #: as ``contract.names.satisfies`` reads it
    engine_version: str
    #: what the model is computed in: a name in ``contract.precision.PRECISIONS``, or one that a later version adds
    precision: str
    #: the framework the model came from
    source: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    #: how far the device's answers to the golden samples may be from the source framework's
    tolerance: Tolerance
    #: () for outputs without
    labels: tuple[OutputLabels, ...] = ()
    #: layer, by its name in the model -> its precision, where that is not ``precision``
    layer_precisions: Mapping[str, str] = field(default_factory=dict)
    #: what a device may choose instead of ``engine``
    alternatives: tuple[Alternative, ...] = ()
    #: of large blobs; the others are checked as a whole
    chunks: tuple[ChunkTable, ...] = ()

    @property
    def release(self) -> str:
        """What all variants have in common."""
        return f"{self.name}:{self.version}"

    @property
    def reference(self) -> str:
        return f"{self.release}-{self.target}"

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Raises NewerFormat, ContractError."""
        return read_versioned(parse_object(data, what=_WHAT), {1: _read_v1, 2: _read_v2}, _WHAT)

    def to_bytes(self) -> bytes:
        obj: dict[str, Any] = {
            VERSION_KEY: MANIFEST_VERSION,
            "name": self.name,
            "version": self.version,
            "target": self.target,
            "requires": self.requires.to_json(),
            "engine": {"name": self.engine, "version": self.engine_version},
            "precision": {"default": self.precision, "layers": dict(self.layer_precisions)},
            "source": self.source,
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
            "tolerance": self.tolerance.to_json(),
            "labels": [entry.to_json() for entry in self.labels],
            "alternatives": [alternative.to_json() for alternative in self.alternatives],
            "chunks": [table.to_json() for table in self.chunks],
        }
        return dump_object(obj)


def _read_v1(obj: dict[str, Any]) -> Manifest:
    labels = get_list({"labels": []} | obj, "labels", OutputLabels.from_json, _WHAT)
    return _read_common(obj, precision=get(obj, "precision", str, _WHAT), labels=labels)


def _read_v2(obj: dict[str, Any]) -> Manifest:
    what = f"{_WHAT}.precision"
    precision = as_object(obj.get("precision"), what)
    layers = as_object(precision.get("layers"), f"{what}.layers")
    if len(layers) > MAX_LAYER_PRECISIONS or any(len(name) > MAX_LAYER_NAME for name in layers):
        raise ContractError(
            f"{what}.layers has {len(layers)} layers; at most {MAX_LAYER_PRECISIONS} with names of {MAX_LAYER_NAME} "
            "characters are read"
        )
    return _read_common(
        obj,
        precision=get(precision, "default", str, what),
        labels=get_list(obj, "labels", OutputLabels.from_json, _WHAT),
        layer_precisions={name: as_string(value, f"{what}.layers[]") for name, value in layers.items()},
        alternatives=get_list(obj, "alternatives", Alternative.from_json, _WHAT, most=MAX_ALTERNATIVES),
        chunks=get_list(obj, "chunks", ChunkTable.from_json, _WHAT, most=MAX_LAYERS),
    )


def _read_common(obj: dict[str, Any], **others: Any) -> Manifest:
    """What both versions spell alike, and the other fields."""
    engine = as_object(obj.get("engine"), f"{_WHAT}.engine")
    return Manifest(
        name=parse_name(obj.get("name"), f"{_WHAT}.name"),
        version=parse_name(obj.get("version"), f"{_WHAT}.version"),
        target=parse_name(obj.get("target"), f"{_WHAT}.target"),
        requires=Requirements.from_json(obj.get("requires")),
        engine=parse_name(engine.get("name"), f"{_WHAT}.engine.name"),
        engine_version=parse_wanted_version(engine.get("version"), f"{_WHAT}.engine.version"),
        source=get(obj, "source", str, _WHAT),
        inputs=get_list(obj, "inputs", TensorSpec.from_json, _WHAT),
        outputs=get_list(obj, "outputs", TensorSpec.from_json, _WHAT),
        tolerance=Tolerance.from_json(obj.get("tolerance")),
        **others,
    )


def parse_path(text: str) -> PurePosixPath:
    """A file's place inside a bundle. Raises ContractError for anything that could leave the bundle's folder."""
    path = PurePosixPath(text)
    parts = text.split("/")
    bad = not text or len(text) > 512 or text.startswith("/") or "\\" in text or "\0" in text
    if bad or any(part in ("", ".", "..") or len(part) > 200 for part in parts):
        raise ContractError(f"{text[:80]!r} is no file path inside a bundle")
    return path

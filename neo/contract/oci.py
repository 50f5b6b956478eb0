"""OCI image-spec documents: descriptor, image manifest, index. Digests are over the exact bytes as stored.

Source: https://github.com/opencontainers/image-spec (v1.1), descriptor.md, manifest.md, image-index.md.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from typing import Any

from neo.contract.fields import ContractError, as_object, as_string, dump_object, get, get_list, get_size, parse_object

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY_BYTES = b"{}"
OCTETS_TYPE = "application/octet-stream"

TITLE = "org.opencontainers.image.title"
REF_NAME = "org.opencontainers.image.ref.name"
CREATED = "org.opencontainers.image.created"

MAX_LAYERS = 4096
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def parse_digest(value: Any, what: str = "digest") -> str:
    """'sha256:' and 64 lower-case hexadecimal digits; anything else could become a path and is refused."""
    text = as_string(value, what)
    if not _DIGEST.fullmatch(text):
        raise ContractError(f"{what} is {text[:80]!r}, not sha256: and 64 hexadecimal digits")
    return text


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Names exactly one blob: its media type, digest and size in bytes."""

    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] = field(default_factory=dict)
    artifact_type: str = ""

    @classmethod
    def of(cls, data: bytes, media_type: str) -> Descriptor:
        return cls(media_type, digest_of(data), len(data))

    @classmethod
    def from_json(cls, value: Any) -> Descriptor:
        obj = as_object(value, "descriptor")
        return cls(
            get(obj, "mediaType", str, "descriptor"),
            parse_digest(obj.get("digest"), "descriptor.digest"),
            get_size(obj, "size", "descriptor"),
            _annotations(obj),
            as_string(obj.get("artifactType", ""), "descriptor.artifactType"),
        )

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.annotations:
            value["annotations"] = self.annotations
        if self.artifact_type:
            value["artifactType"] = self.artifact_type
        return value

    @property
    def title(self) -> str:
        return self.annotations.get(TITLE, "")

    def titled(self, title: str) -> Descriptor:
        return replace(self, annotations={**self.annotations, TITLE: title})


@dataclass(frozen=True, slots=True)
class ImageManifest:
    """One artifact: its type, its config blob and its files (layers, each titled with its relative path)."""

    artifact_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    annotations: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_bytes(cls, data: bytes) -> ImageManifest:
        obj = parse_object(data, what="image manifest")
        if obj.get("schemaVersion") != 2 or obj.get("mediaType", MANIFEST_TYPE) != MANIFEST_TYPE:
            raise ContractError("not an OCI image manifest of schema version 2")
        layers = get_list(obj, "layers", Descriptor.from_json, "image manifest")
        if len(layers) > MAX_LAYERS:
            raise ContractError(f"an image manifest with {len(layers)} layers; at most {MAX_LAYERS} are read")
        return cls(
            as_string(obj.get("artifactType", ""), "image manifest.artifactType"),
            Descriptor.from_json(obj.get("config")),
            layers,
            Descriptor.from_json(obj["subject"]) if "subject" in obj else None,
            _annotations(obj),
        )

    def to_bytes(self) -> bytes:
        value: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": self.artifact_type,
            "config": self.config.to_json(),
            "layers": [layer.to_json() for layer in self.layers],
        }
        if self.subject is not None:
            value["subject"] = self.subject.to_json()
        if self.annotations:
            value["annotations"] = self.annotations
        return dump_object(value)


@dataclass(frozen=True, slots=True)
class ImageIndex:
    """index.json of a layout: every manifest it holds, named or not. Or a blob: the variants of one release."""

    manifests: tuple[Descriptor, ...] = ()
    #: "" for index.json
    artifact_type: str = ""
    annotations: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_bytes(cls, data: bytes) -> ImageIndex:
        obj = parse_object(data, what="index.json", max_bytes=64 << 20)
        if obj.get("schemaVersion") != 2:
            raise ContractError("not an OCI image index of schema version 2")
        return cls(
            get_list(obj, "manifests", Descriptor.from_json, "index.json"),
            as_string(obj.get("artifactType", ""), "index.json.artifactType"),
            _annotations(obj),
        )

    def to_bytes(self) -> bytes:
        manifests = [manifest.to_json() for manifest in self.manifests]
        value: dict[str, Any] = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests}
        if self.artifact_type:
            value["artifactType"] = self.artifact_type
        if self.annotations:
            value["annotations"] = self.annotations
        return dump_object(value)


def _annotations(obj: dict[str, Any]) -> dict[str, str]:
    raw = as_object(obj.get("annotations", {}), "annotations")
    return {key: as_string(value, f"annotations.{key}") for key, value in raw.items()}

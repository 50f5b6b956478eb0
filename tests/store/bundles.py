"""Small bundles: any files, signed or not. Their engines are never run."""

from __future__ import annotations

from pathlib import Path

from neo.compiler.bundle import publish
from neo.compiler.draft import stage
from neo.contract.device import Requirements
from neo.contract.manifest import Manifest
from neo.contract.oci import Descriptor, ImageManifest
from neo.contract.parity import Tolerance
from neo.contract.tensors import TensorSpec
from neo.store import Store
from neo.store.bundles import Bundle

FILES = {"engine/engine.json": b"{}", "engine/weights/a.bin": b"\1" * 100, "golden.npz": b"golden"}


def manifest_of(name: str = "digits", version: str = "1", target: str = "host") -> Manifest:
    spec = TensorSpec("x", "float32", (1, 4))
    requires = Requirements("x86_64", "linux", (), "2.28")
    return Manifest(name, version, target, requires, "onnxruntime", "", "fp32", "onnx", (spec,), (spec,), Tolerance())


def write_bundle(store: Store, manifest: Manifest, folder: Path) -> Bundle:
    (bundle,) = publish(store, [stage(store, manifest, folder)], replace_listed=True)
    return bundle


def add_bundle(
    store: Store,
    folder: Path,
    name: str = "digits",
    version: str = "1",
    target: str = "host",
    files: dict[str, bytes] = FILES,
) -> Bundle:
    for title, data in files.items():
        (folder / title).parent.mkdir(parents=True, exist_ok=True)
        (folder / title).write_bytes(data)
    return write_bundle(store, manifest_of(name, version, target), folder)


def index_entry(store: Store, image: ImageManifest, **fields: object) -> Descriptor:
    descriptor = store.put_manifest(image)
    return Descriptor(descriptor.media_type, descriptor.digest, descriptor.size, **fields)

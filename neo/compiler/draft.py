"""Bundles that nobody sees yet: their files are in the store, and it is known what their manifests will say.

A draft is of files that were just built, or of a bundle that goes on unchanged under the next version.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from neo.contract.chunks import CHUNK_BYTES, TABLE_TYPE, table_path, write_table
from neo.contract.fields import dump_object
from neo.contract.manifest import BUNDLE_TYPE, CONFIG_TYPE, FILE_TYPE, REPORT_PATH, ChunkTable, Manifest
from neo.contract.oci import Descriptor, ImageManifest
from neo.contract.variants import NO_TRAITS, Traits
from neo.errors import BundleError
from neo.store import Store
from neo.store.bundles import Bundle, open_bundle, parse_image

#: of the report's object: what all variants of one version are made of
SOURCE_KEY = "source_key"
_REFERENCE = "reference"


@dataclass(frozen=True, slots=True)
class Draft:
    """A bundle whose files are in the store, and which nobody sees yet."""

    #: with the version "" if the next number is to be taken, which is known when it is listed
    manifest: Manifest
    #: the files, titled, and the chunk tables of the large ones
    layers: tuple[Descriptor, ...]
    #: what report.json will say beside the reference; empty for no report
    report: Mapping[str, Any]
    #: by which it is chosen among the variants of a release
    traits: Traits = NO_TRAITS

    @property
    def source_key(self) -> str | None:
        """Equal for variants of one source; None if that is not known."""
        key = self.report.get(SOURCE_KEY)
        return key if isinstance(key, str) else None


def stage(
    store: Store,
    manifest: Manifest,
    folder: Path,
    report: Mapping[str, Any] | None = None,
    traits: Traits = NO_TRAITS,
) -> Draft:
    """Put every file of folder into the store. The others: as ``Draft`` has them. Raises DiskFull, StoreError."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    layers = [store.put_file(path, FILE_TYPE).titled(path.relative_to(folder).as_posix()) for path in files]
    return Draft(*_with_tables(store, manifest, layers), report or {}, traits)


def draft_of(store: Store, entry: Descriptor) -> Draft:
    """A listed bundle, to be listed once more under the next version: the same files, no version.

    Raises BundleError, StoreError, NewerFormat.
    """
    bundle = open_bundle(store, entry)
    written = next((layer for layer in bundle.image.layers if layer.title == REPORT_PATH), None)
    report: Mapping[str, Any] = {}
    no_longer: frozenset[str] = frozenset()
    if written is not None:
        report = _report(store.read(written), bundle)
        no_longer = frozenset([REPORT_PATH, table_path(written.digest)])
    return Draft(
        replace(
            bundle.manifest,
            version="",
            chunks=tuple(c for c in bundle.manifest.chunks if written is None or c.blob != written.digest),
        ),
        tuple(layer for layer in bundle.image.layers if layer.title not in no_longer),
        report,
        Traits.from_annotations(entry.annotations),
    )


def write_bundle(store: Store, draft: Draft) -> Bundle:
    """Put the manifests of a draft with a version into the store. Raises BundleError, DiskFull, StoreError."""
    manifest, layers = draft.manifest, draft.layers
    if draft.report:
        report = dump_object({**draft.report, _REFERENCE: manifest.reference})
        file = store.put(report, FILE_TYPE).titled(REPORT_PATH)
        manifest, added = _with_tables(store, manifest, [file])
        layers = (*layers, *added)
    config = store.put(manifest.to_bytes(), CONFIG_TYPE)
    image = ImageManifest(BUNDLE_TYPE, config, layers)
    parse_image(image.to_bytes())
    return Bundle(store.put_manifest(image), image, manifest)


def _report(data: bytes, bundle: Bundle) -> Mapping[str, Any]:
    try:
        report = json.loads(data)
    except ValueError as error:
        raise BundleError(f"{REPORT_PATH} of {bundle.manifest.reference} is no JSON: {error}") from error
    return report if isinstance(report, dict) else {}


def _with_tables(
    store: Store, manifest: Manifest, files: Sequence[Descriptor]
) -> tuple[Manifest, tuple[Descriptor, ...]]:
    """Put a chunk table beside every large file, and name it in the manifest.

    A table is a file of the bundle like any other: who copies, keeps or serves a bundle has its tables, too.
    """
    large = {file.digest: file for file in files if file.size > CHUNK_BYTES}
    tables = {digest: _put_table(store, file) for digest, file in large.items()}
    chunks = tuple(ChunkTable(digest, table.digest, CHUNK_BYTES) for digest, table in tables.items())
    return replace(manifest, chunks=(*manifest.chunks, *chunks)), (*files, *tables.values())


def _put_table(store: Store, blob: Descriptor) -> Descriptor:
    with store.path(blob.digest).open("rb") as file:
        return store.put(write_table(file), TABLE_TYPE).titled(table_path(blob.digest))

"""Folders of files -> bundles in the store, signed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from securesystemslib.signer import Signer

from neo.contract.chunks import CHUNK_BYTES, TABLE_TYPE, table_path, write_table
from neo.contract.fields import ContractError, dump_object
from neo.contract.manifest import (
    BUNDLE_TYPE,
    CONFIG_TYPE,
    FILE_TYPE,
    RELEASE_TYPE,
    REPORT_PATH,
    ChunkTable,
    Manifest,
)
from neo.contract.oci import CREATED, REF_NAME, Descriptor, ImageIndex, ImageManifest
from neo.contract.variants import NO_TRAITS, PRECISION_ANNOTATION, TARGET_ANNOTATION, TYPE_ANNOTATION, Traits
from neo.errors import BundleError, StoreError
from neo.store import Store
from neo.store.bundles import Bundle, open_bundle, parse_image
from neo.store.layout import list_entry
from neo.trust import Statement, sign_statement
from neo.trust.statement import ENVELOPE_TYPE, SIGNATURE_TYPE


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


def publish(
    store: Store, drafts: Iterable[Draft], signer: Signer | None = None, *, replace_listed: bool = False
) -> tuple[Bundle, ...]:
    """Number, sign and list the bundles, all in one step: whatever fails or is killed before, none of them is listed.

    Beside each bundle (m:3-host) its release is listed (m:3): an OCI image index of all variants and their signatures.

    replace_listed: a bundle that is listed under the same reference gives way; otherwise StoreError is raised. Raises
    DiskFull, StoreError, and BundleError for what no device would take (too many files, a name that is no path).
    """
    bundles: list[Bundle] = []
    with store.changing_index() as entries:
        for draft in drafts:
            manifest = draft.manifest
            if not manifest.version:
                manifest = replace(manifest, version=next_version(entries, manifest.name, manifest.target))
            if not replace_listed:
                refuse_listed(entries, [manifest.reference], store)
            bundle = _write(store, replace(draft, manifest=manifest))
            created = datetime.now(timezone.utc).isoformat(timespec="seconds")
            annotations = {REF_NAME: manifest.reference, CREATED: created, **_annotations(manifest, draft.traits)}
            list_entry(entries, replace(bundle.descriptor, annotations=annotations, artifact_type=BUNDLE_TYPE))
            if signer is not None:
                _, signature = _sign(store, bundle, signer)
                list_entry(entries, signature)
            bundles.append(bundle)
        for release in sorted({(b.manifest.name, b.manifest.version) for b in bundles}):
            _list_release(store, entries, *release)
    return tuple(bundles)


def sign_bundle(store: Store, bundle: Bundle, signer: Signer) -> Descriptor:
    """Put the signed statement about a listed bundle beside it, as an OCI referrer; -> the envelope's descriptor."""
    with store.changing_index() as entries:
        envelope, entry = _sign(store, bundle, signer)
        list_entry(entries, entry)
        _list_release(store, entries, bundle.manifest.name, bundle.manifest.version)
    return envelope


def next_version(entries: Sequence[Descriptor], name: str, target: str) -> str:
    """The whole number after the highest one that this model has for this target; "1" for a new model."""
    pattern = re.compile(re.escape(name) + r":([0-9]{1,9})-" + re.escape(target))
    matches = (pattern.fullmatch(reference) for reference in references(entries))
    return str(1 + max((int(match[1]) for match in matches if match), default=0))


def refuse_listed(entries: Sequence[Descriptor], wanted: Collection[str], store: Store) -> None:
    """Raises StoreError if one of the wanted references is among the entries."""
    taken = sorted(references(entries).intersection(wanted))
    if taken:
        raise StoreError(
            f"{', '.join(taken)} is in {store.root} already",
            hint="leave out --version for the next number, or replace the bundle with --replace",
        )


def references(entries: Sequence[Descriptor]) -> frozenset[str]:
    """Of all bundles among the entries of an index."""
    return frozenset(e.annotations.get(REF_NAME, "") for e in entries if e.artifact_type == BUNDLE_TYPE)


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


def _annotations(manifest: Manifest, traits: Traits) -> dict[str, str]:
    """What a chooser reads without opening the bundle."""
    said = {TARGET_ANNOTATION: manifest.target, PRECISION_ANNOTATION: manifest.precision, **traits.to_annotations()}
    return dict(sorted(said.items()))


def _list_release(store: Store, entries: list[Descriptor], name: str, version: str) -> None:
    """List the image index of all variants that the version has, followed by the signatures about them.

    Other tools copy what an index lists, and no referrers: without the signatures in it, a copy would be unsigned.
    """
    reference = f"{name}:{version}"
    if any(e.artifact_type == BUNDLE_TYPE and e.annotations.get(REF_NAME) == reference for e in entries):
        return  # version "2-x" has the name of version 2 for the target x, which is to be found by it
    listed = {entry.digest for entry in entries}
    # those of a release that another tool copied here are in its index alone
    elsewhere = [entry for entry in store.manifests() if entry.digest not in listed]
    variants = dict(_members(store, elsewhere, name, version))
    variants.update(_members(store, entries, name, version))
    digests = {variant.digest for variant in variants.values()}
    signatures = [entry for entry in (*elsewhere, *entries) if _subject(store, entry) in digests]
    # as skopeo writes it again when it copies it, so that its digest stays: without artifact types, annotations sorted
    members = tuple(replace(entry, artifact_type="") for entry in (*variants.values(), *signatures))
    index = ImageIndex(members, annotations={TYPE_ANNOTATION: RELEASE_TYPE})
    entry = replace(store.put_index(index), annotations={REF_NAME: reference}, artifact_type=RELEASE_TYPE)
    list_entry(entries, entry)


def _members(store: Store, entries: Iterable[Descriptor], name: str, version: str) -> Iterator[tuple[str, Descriptor]]:
    """-> the target and the entry, as the version's image index has it, of each of its variants that is whole."""
    for entry in entries:
        if entry.artifact_type == BUNDLE_TYPE:
            with suppress(BundleError, StoreError, ContractError):
                manifest = open_bundle(store, entry).manifest
                if (manifest.name, manifest.version) == (name, version):
                    annotations = _annotations(manifest, Traits.from_annotations(entry.annotations))
                    yield manifest.target, replace(entry, annotations=annotations)


def _subject(store: Store, entry: Descriptor) -> str:
    """The digest that a signature is about; "" for what is none."""
    if entry.artifact_type != SIGNATURE_TYPE:
        return ""
    try:
        subject = ImageManifest.from_bytes(store.read(entry)).subject
    except (StoreError, ContractError):
        return ""
    return "" if subject is None else subject.digest


def _write(store: Store, draft: Draft) -> Bundle:
    manifest, layers = draft.manifest, draft.layers
    if draft.report:
        report = dump_object({"reference": manifest.reference, **draft.report})
        file = store.put(report, FILE_TYPE).titled(REPORT_PATH)
        manifest, added = _with_tables(store, manifest, [file])
        layers = (*layers, *added)
    config = store.put(manifest.to_bytes(), CONFIG_TYPE)
    image = ImageManifest(BUNDLE_TYPE, config, layers)
    parse_image(image.to_bytes())
    return Bundle(store.put_manifest(image), image, manifest)


def _sign(store: Store, bundle: Bundle, signer: Signer) -> tuple[Descriptor, Descriptor]:
    """-> the envelope, and the entry of the index that refers to the bundle."""
    statement = Statement(bundle.descriptor.digest, bundle.descriptor.size, bundle.manifest.reference)
    envelope = store.put(sign_statement(statement, signer), ENVELOPE_TYPE)
    image = ImageManifest(
        SIGNATURE_TYPE,
        store.put_empty(),
        (envelope,),
        subject=Descriptor(bundle.descriptor.media_type, bundle.descriptor.digest, bundle.descriptor.size),
    )
    return envelope, replace(store.put_manifest(image), artifact_type=SIGNATURE_TYPE)

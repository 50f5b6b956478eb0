"""Drafts -> bundles in the store: numbered, signed, listed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone

from securesystemslib.signer import Signer

from neo.compiler.draft import Draft, draft_of, write_bundle
from neo.contract.fields import ContractError
from neo.contract.manifest import (
    BUNDLE_TYPE,
    RELEASE_TYPE,
    Manifest,
)
from neo.contract.oci import CREATED, REF_NAME, Descriptor, ImageIndex, ImageManifest
from neo.contract.variants import PRECISION_ANNOTATION, TARGET_ANNOTATION, TYPE_ANNOTATION, Traits
from neo.errors import BundleError, StoreError
from neo.store import Store
from neo.store.bundles import Bundle, open_bundle
from neo.store.layout import list_entry
from neo.trust import Statement, sign_statement
from neo.trust.statement import ENVELOPE_TYPE, SIGNATURE_TYPE


def publish(
    store: Store, drafts: Iterable[Draft], signer: Signer | None = None, *, replace_listed: bool = False
) -> tuple[Bundle, ...]:
    """Number, sign and list the bundles, all in one step: whatever fails or is killed before, none of them is listed.

    Those of one model get one number, the next of that model. Variants of the version before that are made of the same
    source and are not among the drafts go on under it (decision 0053). Beside each bundle (m:3-host) its release is
    listed (m:3): an OCI image index of all variants and their signatures.

    -> the bundles of the drafts, in their order.

    replace_listed: a bundle that is listed under the same reference gives way; otherwise StoreError is raised. Raises
    DiskFull, StoreError, and BundleError for what no device would take (too many files, a name that is no path).
    """
    bundles: list[Bundle] = []
    with store.changing_index() as entries:
        given = tuple(drafts)
        for draft in _numbered(entries, [*given, *_carried(store, entries, given)]):
            manifest = draft.manifest
            if not replace_listed:
                refuse_listed(entries, [manifest.reference], store)
            bundle = write_bundle(store, draft)
            created = datetime.now(timezone.utc).isoformat(timespec="seconds")
            annotations = {REF_NAME: manifest.reference, CREATED: created, **_annotations(manifest, draft.traits)}
            list_entry(entries, replace(bundle.descriptor, annotations=annotations, artifact_type=BUNDLE_TYPE))
            if signer is not None:
                _, signature = _sign(store, bundle, signer)
                list_entry(entries, signature)
            bundles.append(bundle)
        for release in sorted({(b.manifest.name, b.manifest.version) for b in bundles}):
            _list_release(store, entries, *release)
    return tuple(bundles[: len(given)])


def sign_bundle(store: Store, bundle: Bundle, signer: Signer) -> Descriptor:
    """Put the signed statement about a listed bundle beside it, as an OCI referrer; -> the envelope's descriptor."""
    with store.changing_index() as entries:
        envelope, entry = _sign(store, bundle, signer)
        list_entry(entries, entry)
        _list_release(store, entries, bundle.manifest.name, bundle.manifest.version)
    return envelope


def next_version(entries: Sequence[Descriptor], name: str) -> str:
    """The whole number after the highest one that this model has for any target; "1" for a new model."""
    return str(1 + max(_numbers(entries, name), default=0))


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


def _numbers(entries: Iterable[Descriptor], name: str) -> dict[int, list[Descriptor]]:
    """The model's versions that are numbers -> the entries of their bundles."""
    # a target may have a "-" too, and the first one ends the number
    pattern = re.compile(re.escape(name) + r":([0-9]{1,9})-.+")
    found: dict[int, list[Descriptor]] = {}
    for entry in entries:
        match = pattern.fullmatch(entry.annotations.get(REF_NAME, ""))
        if match and entry.artifact_type == BUNDLE_TYPE:
            found.setdefault(int(match[1]), []).append(entry)
    return found


def _numbered(entries: Sequence[Descriptor], drafts: Sequence[Draft]) -> list[Draft]:
    """With one number for all drafts of a model that have no version."""
    numbers = {name: next_version(entries, name) for name in {draft.manifest.name for draft in drafts}}
    return [
        replace(draft, manifest=replace(draft.manifest, version=draft.manifest.version or numbers[draft.manifest.name]))
        for draft in drafts
    ]


def _carried(store: Store, entries: Sequence[Descriptor], drafts: Sequence[Draft]) -> list[Draft]:
    """What goes on from the version before: variants of the drafts' own source, for other targets."""
    carried: list[Draft] = []
    for name in sorted({draft.manifest.name for draft in drafts if not draft.manifest.version}):
        new = [draft for draft in drafts if draft.manifest.name == name]
        sources = {draft.source_key for draft in new if draft.source_key is not None}
        targets = {draft.manifest.target for draft in new}
        numbers = _numbers(entries, name)
        for entry in numbers[max(numbers)] if numbers else ():
            with suppress(BundleError, StoreError, ContractError):  # what is damaged ends with its version
                draft = draft_of(store, entry)
                if draft.source_key in sources and draft.manifest.target not in targets:
                    carried.append(draft)
    return carried


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

"""Bundles in a store: from a descriptor to a checked manifest and its files, and to the signatures about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from neo.contract.fields import ContractError
from neo.contract.manifest import BUNDLE_TYPE, CONFIG_PATH, CONFIG_TYPE, Manifest, parse_path
from neo.contract.oci import MANIFEST_TYPE, REF_NAME, Descriptor, ImageManifest
from neo.contract.versions import NewerFormat, check_media_type
from neo.durable import replace_file
from neo.errors import BundleError, StoreError
from neo.store.layout import Store

MAX_MANIFEST_BYTES = 1 << 20
# the target that is the machine where the bundle was compiled
_HOST = "host"
# a whole number as a version, written one way only: "01" is another
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle in a store."""

    #: Of the OCI manifest.
    descriptor: Descriptor
    #: That OCI manifest.
    image: ImageManifest
    #: The config blob.
    manifest: Manifest

    @property
    def size_bytes(self) -> int:
        """All the device has to hold, each blob once."""
        blobs = {layer.digest: layer.size for layer in (self.image.config, *self.image.layers)}
        return self.descriptor.size + sum(blobs.values())


def parse_image(data: bytes) -> ImageManifest:
    """An OCI manifest as a bundle's: right types, every file inside the folder. Raises BundleError, NewerFormat."""
    try:
        image = ImageManifest.from_bytes(data)
        check_media_type(image.artifact_type, BUNDLE_TYPE, "the bundle")
        check_media_type(image.config.media_type, CONFIG_TYPE, "the bundle")
        if image.artifact_type != BUNDLE_TYPE or image.config.media_type != CONFIG_TYPE:
            raise BundleError(f"an OCI artifact of type {image.artifact_type!r}, not a neo-edge bundle")
        titles = [parse_path(layer.title) for layer in image.layers]
    except NewerFormat:
        raise
    except ContractError as error:
        raise BundleError(f"not a bundle: {error.message}", hint=error.hint) from error
    files = {PurePosixPath(CONFIG_PATH), *titles}
    if len(files) != len(titles) + 1:
        raise BundleError("a bundle with two files of one name")
    for title in titles:
        if not files.isdisjoint(title.parents):
            raise BundleError(f"a bundle where {str(title)!r} lies inside another file")
    return image


def open_bundle(store: Store, descriptor: Descriptor) -> Bundle:
    """Parse the bundle's manifest and config. Its files are not read.

    Raises BundleError, StoreError, and NewerFormat for a bundle of a later version.
    """
    if descriptor.size > MAX_MANIFEST_BYTES:
        raise BundleError(f"a bundle manifest of {descriptor.size} bytes; at most {MAX_MANIFEST_BYTES} are read")
    image = parse_image(store.read(descriptor))
    try:
        manifest = Manifest.from_bytes(store.read(image.config))
    except NewerFormat:
        raise
    except ContractError as error:
        raise BundleError(error.message, hint=error.hint) from error
    return Bundle(descriptor, image, manifest)


def unpack_bundle(store: Store, bundle: Bundle, folder: Path) -> None:
    """Lay the bundle out as files: manifest.json, engine/, golden samples, report.json."""
    store.materialise(bundle.image, folder)
    replace_file(folder / CONFIG_PATH, store.read(bundle.image.config), mode=0o444)


def bundle_entries(store: Store) -> tuple[Descriptor, ...]:
    """The index entries of all bundles, oldest first, also of those that only a release lists."""
    return tuple(_named(store, e) for e in store.manifests() if e.artifact_type == BUNDLE_TYPE)


def _named(store: Store, entry: Descriptor) -> Descriptor:
    """In an image index variants have no reference names: those are for index.json."""
    if REF_NAME in entry.annotations or (manifest := _manifest(store, entry)) is None:
        return entry
    return replace(entry, annotations={**entry.annotations, REF_NAME: manifest.reference})


def find_bundle(store: Store, reference: str, fits: Callable[[Manifest], bool] | None = None) -> Bundle:
    """A bundle by its whole name (digits:1-host), a shorter one, or its digest or a beginning of that.

    digits means the newest version, digits:1 that version; of several targets that have it, the only one for which fits
    is true, or, if there are more of them, the one for "host". Raises StoreError that lists what there is.
    """
    found, _ = find_entries(store, reference)
    if len(found) > 1 and fits is not None:
        found = _fitting(store, found, fits) or found
    if len(found) > 1:
        raise _ambiguous(reference, found)
    return open_bundle(store, found[0])


def find_entries(store: Store, reference: str) -> tuple[list[Descriptor], bool]:
    """-> (the index entries of all bundles that the reference means, whether it means a version with all its variants).

    Raises StoreError that lists what there is.
    """
    entries = bundle_entries(store)
    exact = [e for e in entries if reference in (e.annotations.get(REF_NAME), e.digest)]
    if len(exact) == 1:
        return exact, False
    variants = [] if exact else _variants(store, entries, reference)
    if variants:
        return variants, True
    digest = reference.removeprefix("sha256:")
    found = exact or [e for e in entries if len(digest) >= 6 and e.digest.startswith(f"sha256:{digest}")]
    if len(found) > 1:
        raise _ambiguous(reference, found)
    if not found:
        names = _names(entries)
        raise StoreError(
            f"there is no bundle {reference!r} in {store.root}",
            hint=f"it holds: {', '.join(names)}" if names else "make one with: neo compile MODEL --target host",
        )
    return found, False


def _ambiguous(reference: str, found: Sequence[Descriptor]) -> StoreError:
    names = _names(found)
    return StoreError(
        f"{reference!r} could be any of {', '.join(names)}", hint=f"give the whole reference, as in {names[0]}"
    )


def _names(entries: Sequence[Descriptor]) -> list[str]:
    return sorted(e.annotations.get(REF_NAME, e.digest) for e in entries)


def _variants(store: Store, entries: Sequence[Descriptor], reference: str) -> list[Descriptor]:
    """Those of one version: the one in reference, or else the newest, for whatever target."""
    name, colon, version = reference.partition(":")
    named = [e for e in entries if e.annotations.get(REF_NAME, "").startswith(f"{name}:")]
    # where a version ends and a target begins only the manifest says: both may have a "-"
    versions = [(e, manifest.version) for e in named if (manifest := _manifest(store, e)) and manifest.name == name]
    if not versions:
        # what is damaged is found too, and then says so
        return named if not colon else [e for e in named if e.annotations[REF_NAME].startswith(f"{reference}-")]
    if not colon:
        numbers = [int(text) for _, text in versions if _NUMBER.fullmatch(text)]
        # whole numbers count up; of other versions the one that was listed last is the newest
        version = str(max(numbers)) if len(numbers) == len(versions) else versions[-1][1]
    return [e for e, one in versions if one == version]


def _manifest(store: Store, entry: Descriptor) -> Manifest | None:
    try:
        return open_bundle(store, entry).manifest
    except (BundleError, StoreError):
        return None


def _fitting(store: Store, entries: Sequence[Descriptor], fits: Callable[[Manifest], bool]) -> list[Descriptor]:
    able = [(e, manifest) for e in entries if (manifest := _manifest(store, e)) and fits(manifest)]
    for_host = [e for e, manifest in able if manifest.target == _HOST]
    return for_host if len(for_host) == 1 else [e for e, _ in able]


def signatures_of(store: Store, digest: str, artifact_type: str) -> tuple[Descriptor, ...]:
    """The envelope blobs of every signature whose subject is the manifest with this digest, newest last.

    Raises StoreError if a signature that the index lists is missing or damaged.
    """
    envelopes: list[Descriptor] = []
    for entry in store.manifests():
        if entry.artifact_type == artifact_type and entry.media_type == MANIFEST_TYPE:
            image = _parse_signature(store.read(entry))
            if image.subject is not None and image.subject.digest == digest:
                envelopes.extend(image.layers)
    return tuple(envelopes)


def _parse_signature(data: bytes) -> ImageManifest:
    try:
        return ImageManifest.from_bytes(data)
    except ContractError as error:
        raise StoreError(f"a signature in the index is no manifest: {error.message}") from error

"""A folder of files -> a bundle in the store, signed."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from pathlib import Path

from securesystemslib.signer import Signer

from neo.contract.manifest import BUNDLE_TYPE, CONFIG_TYPE, FILE_TYPE, Manifest
from neo.contract.oci import CREATED, REF_NAME, Descriptor, ImageManifest
from neo.store import Store
from neo.store.bundles import Bundle, bundle_entries, parse_image
from neo.trust import Statement, sign_statement
from neo.trust.statement import ENVELOPE_TYPE, SIGNATURE_TYPE


def write_bundle(store: Store, manifest: Manifest, folder: Path) -> Bundle:
    """Put every file of folder and the manifest into the store, and list the bundle under its reference.

    The index entry comes last: a bundle is there as a whole or not at all. Raises DiskFull, StoreError, and
    BundleError for what no device would take (too many files, a name that is no path).
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    layers = tuple(store.put_file(path, FILE_TYPE).titled(path.relative_to(folder).as_posix()) for path in files)
    image = ImageManifest(BUNDLE_TYPE, store.put(manifest.to_bytes(), CONFIG_TYPE), layers)
    parse_image(image.to_bytes())
    descriptor = store.put_manifest(image)
    annotations = {REF_NAME: manifest.reference, CREATED: datetime.now(timezone.utc).isoformat(timespec="seconds")}
    store.add_to_index(
        Descriptor(descriptor.media_type, descriptor.digest, descriptor.size, annotations, artifact_type=BUNDLE_TYPE)
    )
    return Bundle(descriptor, image, manifest)


def sign_bundle(store: Store, bundle: Bundle, signer: Signer) -> Descriptor:
    """Put the signed statement about the bundle beside it, as an OCI referrer; -> the envelope's descriptor."""
    statement = Statement(bundle.descriptor.digest, bundle.descriptor.size, bundle.manifest.reference)
    envelope = store.put(sign_statement(statement, signer), ENVELOPE_TYPE)
    image = ImageManifest(
        SIGNATURE_TYPE,
        store.put_empty(),
        (envelope,),
        subject=Descriptor(bundle.descriptor.media_type, bundle.descriptor.digest, bundle.descriptor.size),
    )
    entry = store.put_manifest(image)
    store.add_to_index(Descriptor(entry.media_type, entry.digest, entry.size, artifact_type=SIGNATURE_TYPE))
    return envelope


def next_version(store: Store, name: str, target: str) -> str:
    """The whole number after the highest one that this model has for this target; "1" for a new model."""
    pattern = re.compile(re.escape(name) + r":([0-9]{1,9})-" + re.escape(target))
    matches = (pattern.fullmatch(entry.annotations.get(REF_NAME, "")) for entry in bundle_entries(store))
    return str(1 + max((int(match[1]) for match in matches if match), default=0))

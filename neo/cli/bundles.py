"""A reference on the command line -> an unpacked bundle."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neo.contract.manifest import Manifest
    from neo.store import Store
    from neo.store.bundles import Bundle


def fits_here(manifest: Manifest) -> bool:
    """Whether the bundle can run on this machine."""
    from neo.contract.device import mismatches
    from neo.targets import host_capabilities

    return not mismatches(manifest.requires, manifest.engine, manifest.engine_version, host_capabilities())


@contextmanager
def unpacked(store: Store, reference: str) -> Iterator[tuple[Bundle, Path]]:
    """-> (bundle, a folder with its files, gone afterwards). Files are checked against their digests first."""
    from neo.store.bundles import find_bundle, unpack_bundle

    bundle = find_bundle(store, reference, fits_here)
    for layer in bundle.image.layers:
        store.verify(layer)
    with _scratch_folder(store) as folder:
        unpack_bundle(store, bundle, folder)
        yield bundle, folder


@contextmanager
def _scratch_folder(store: Store) -> Iterator[Path]:
    """Inside the store, where files are links to its blobs and cost nothing; elsewhere, as copies, if that can only
    be read.
    """
    from neo.isolation.scratch import scratch_folder

    try:
        inside = tempfile.TemporaryDirectory(prefix="neo-bundle-", dir=store.root)
    except OSError:
        with scratch_folder("neo-bundle-") as folder:
            yield folder
        return
    with inside as name:
        yield Path(name)

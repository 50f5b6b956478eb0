"""A reference on the command line -> an unpacked bundle."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neo.store import Store
    from neo.store.bundles import Bundle


@contextmanager
def unpacked(store: Store, reference: str) -> Iterator[tuple[Bundle, Path]]:
    """-> (bundle, a folder with its files, gone afterwards). Files are checked against their digests first."""
    from neo.store.bundles import find_bundle, unpack_bundle

    bundle = find_bundle(store, reference)
    for layer in bundle.image.layers:
        store.verify(layer)
    with tempfile.TemporaryDirectory(prefix="neo-bundle-", dir=store.root) as folder:
        unpack_bundle(store, bundle, Path(folder))
        yield bundle, Path(folder)

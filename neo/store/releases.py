"""Releases in a store: all variants that one version of a model has, each a bundle for one target."""

from __future__ import annotations

from dataclasses import dataclass

from neo.contract.variants import NO_TRAITS, Traits
from neo.store.bundles import Bundle, find_entries, open_bundle
from neo.store.layout import Store


@dataclass(frozen=True, slots=True)
class Variant:
    """A bundle as one of a release's."""

    bundle: Bundle
    traits: Traits

    @property
    def reference(self) -> str:
        return self.bundle.manifest.reference

    @property
    def digest(self) -> str:
        return self.bundle.descriptor.digest


@dataclass(frozen=True, slots=True)
class Release:
    """What a reference names: every variant of a version, or the one that was named."""

    #: name:version, or name:version-target of the one
    reference: str
    #: at least one
    variants: tuple[Variant, ...]

    @classmethod
    def of(cls, bundle: Bundle) -> Release:
        """That bundle and no other."""
        return cls(bundle.manifest.reference, (Variant(bundle, NO_TRAITS),))


def find_release(store: Store, reference: str) -> Release:
    """digits: the newest version; digits:2: that one; digits:2-host, a digest or a beginning of it: that variant alone.

    Raises StoreError that lists what there is, BundleError for a damaged variant.
    """
    entries, is_release = find_entries(store, reference)
    variants = tuple(
        Variant(open_bundle(store, entry), Traits.from_annotations(entry.annotations)) for entry in entries
    )
    first = variants[0]
    return Release(first.bundle.manifest.release if is_release else first.reference, variants)

"""A version of a model is one OCI image index of its variants, which other tools copy whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from neo.compiler.bundle import publish, sign_bundle
from neo.compiler.draft import stage
from neo.contract.manifest import BUNDLE_TYPE, RELEASE_TYPE
from neo.contract.oci import INDEX_TYPE, REF_NAME, ImageIndex, ImageManifest
from neo.contract.variants import Traits
from neo.errors import StoreError
from neo.fleet.assign import signatures_by_variant
from neo.fleet.source import servable_blobs
from neo.store import Store
from neo.store.bundles import Bundle, find_bundle, signatures_of
from neo.store.releases import find_release
from neo.trust.statement import SIGNATURE_TYPE
from tests.store.bundles import FILES, add_bundle, manifest_of
from tests.store.test_bundles import needs_skopeo, skopeo

TRAITS = {"host": Traits("x86-64", 1.5, "x86_64-2-abc"), "raspberry-pi-4": Traits("cortex-a72")}


def add_release(
    store: Store, folder: Path, signer: CryptoSigner | None, version: str = "", **traits: Traits
) -> tuple[Bundle, ...]:
    """Of two variants, by default."""
    drafts = []
    for target, said in (traits or TRAITS).items():
        for title, data in FILES.items():
            (folder / target / title).parent.mkdir(parents=True, exist_ok=True)
            (folder / target / title).write_bytes(data + target.encode())
        drafts.append(stage(store, manifest_of(version=version, target=target), folder / target, traits=said))
    return publish(store, drafts, signer, replace_listed=True)


def index_of(store: Store, reference: str) -> ImageIndex:
    (entry,) = (e for e in store.index().manifests if e.annotations.get(REF_NAME) == reference)
    assert (entry.media_type, entry.artifact_type) == (INDEX_TYPE, RELEASE_TYPE)
    return ImageIndex.from_bytes(store.read(entry))


def test_a_call_makes_one_index_that_tells_what_a_chooser_needs(store: Store, tmp_path: Path) -> None:
    bundles = add_release(store, tmp_path, CryptoSigner.generate_ed25519())
    members = index_of(store, "digits:1").manifests
    assert [member.digest for member in members[:2]] == [bundle.descriptor.digest for bundle in bundles]
    assert members[0].annotations == {
        "io.neo-edge.target": "host",
        "io.neo-edge.precision": "fp32",
        "io.neo-edge.processor": "x86-64",
        "io.neo-edge.latency-ms": "1.5",
        "io.neo-edge.measured-on": "x86_64-2-abc",
    }
    types = [ImageManifest.from_bytes(store.read(member)).artifact_type for member in members]
    assert types == [BUNDLE_TYPE] * 2 + [SIGNATURE_TYPE] * 2
    release = find_release(store, "digits")
    assert (release.reference, [variant.traits for variant in release.variants]) == ("digits:1", list(TRAITS.values()))
    assert find_release(store, "digits:1-host").variants == release.variants[:1]


def test_a_variant_that_is_added_or_replaced_is_in_the_index_of_its_version(store: Store, tmp_path: Path) -> None:
    add_release(store, tmp_path, None)
    other = add_bundle(store, tmp_path / "other", target="x86-64-v2")
    (newer,) = add_release(
        store, tmp_path / "new", CryptoSigner.generate_ed25519(), "1", host=Traits("x86-64", 2.0, "k")
    )
    digests = [member.digest for member in index_of(store, "digits:1").manifests]
    assert len(digests) == 4  # and a signature
    assert {other.descriptor.digest, newer.descriptor.digest} < set(digests)
    assert {v.bundle.manifest.target for v in find_release(store, "digits").variants} == {*TRAITS, "x86-64-v2"}
    sign_bundle(store, other, CryptoSigner.generate_ed25519())
    assert len(index_of(store, "digits:1").manifests) == 5


def test_a_release_takes_no_variants_name(store: Store, tmp_path: Path) -> None:
    variant = add_bundle(store, tmp_path / "a", version="2", target="x")
    other = add_bundle(store, tmp_path / "b", version="2-x", target="y")
    assert find_bundle(store, "digits:2-x").descriptor.digest == variant.descriptor.digest
    assert find_bundle(store, "digits:2-x-y").descriptor.digest == other.descriptor.digest


def test_what_is_taken_from_the_index_is_not_found_by_its_release(store: Store, tmp_path: Path) -> None:
    host, _ = add_release(store, tmp_path, None)
    store.remove_from_index([host.descriptor.digest])
    assert [v.bundle.manifest.target for v in find_release(store, "digits").variants] == ["raspberry-pi-4"]


def test_a_store_of_before_has_releases_too(store: Store, tmp_path: Path) -> None:
    add_release(store, tmp_path, CryptoSigner.generate_ed25519())
    with store.changing_index() as entries:
        kept = [e for e in entries if e.media_type != INDEX_TYPE]
        entries[:] = [replace(e, annotations={k: v for k, v in e.annotations.items() if k == REF_NAME}) for e in kept]
    release = find_release(store, "digits")
    assert [variant.reference for variant in release.variants] == ["digits:1-host", "digits:1-raspberry-pi-4"]
    assert {variant.traits for variant in release.variants} == {Traits()}
    assert len(signatures_by_variant(release, store)) == 2


def test_an_index_that_is_damaged_hides_nothing_else(store: Store, tmp_path: Path) -> None:
    add_release(store, tmp_path, None)
    (entry,) = (e for e in store.index().manifests if e.media_type == INDEX_TYPE)
    path = store.path(entry.digest)
    path.chmod(0o644)
    path.write_bytes(b"[" * entry.size)
    assert len(find_release(store, "digits:1").variants) == 2


@needs_skopeo
def test_a_release_that_skopeo_copied_is_whole_and_signed(store: Store, tmp_path: Path) -> None:
    bundles = add_release(store, tmp_path, CryptoSigner.generate_ed25519())
    other = Store(tmp_path / "other")
    skopeo("--insecure-policy", "copy", "--all", f"oci:{store.root}:digits:1", f"oci:{other.root}:digits:1")
    (listed,) = json.loads((other.root / "index.json").read_bytes())["manifests"]
    (made,) = (e for e in store.index().manifests if e.media_type == INDEX_TYPE)
    assert (listed["mediaType"], listed["digest"]) == (INDEX_TYPE, made.digest)  # the rest is in it
    copied, original = find_release(other, "digits"), find_release(store, "digits")
    assert copied == replace(original, variants=copied.variants)
    assert [(v.reference, v.digest, v.traits) for v in copied.variants] == [
        (v.reference, v.digest, v.traits) for v in original.variants
    ]
    assert signatures_by_variant(copied, other) == signatures_by_variant(original, store)
    assert servable_blobs(other) == servable_blobs(store)
    assert find_bundle(other, "digits:1-host").descriptor.digest == bundles[0].descriptor.digest
    with pytest.raises(StoreError, match="there is no bundle") as raised:
        find_bundle(other, "digits:2")
    assert raised.value.hint == "it holds: digits:1-host, digits:1-raspberry-pi-4"


@needs_skopeo
def test_what_is_compiled_into_a_copied_store_leaves_the_copied_variants_there(store: Store, tmp_path: Path) -> None:
    add_release(store, tmp_path, CryptoSigner.generate_ed25519())
    other = Store(tmp_path / "other")
    skopeo("--insecure-policy", "copy", "--all", f"oci:{store.root}:digits:1", f"oci:{other.root}:digits:1")
    add_bundle(other, tmp_path / "more", target="x86-64-v2")
    assert {v.bundle.manifest.target for v in find_release(other, "digits").variants} == {*TRAITS, "x86-64-v2"}
    signed = [
        v.reference for v in find_release(other, "digits").variants if signatures_of(other, v.digest, SIGNATURE_TYPE)
    ]
    assert signed == ["digits:1-host", "digits:1-raspberry-pi-4"]


@needs_skopeo
def test_skopeo_reads_the_index_of_a_release(store: Store, tmp_path: Path) -> None:
    add_release(store, tmp_path, None)
    raw = skopeo("inspect", "--raw", f"oci:{store.root}:digits:1")
    assert ImageIndex.from_bytes(raw) == index_of(store, "digits:1")

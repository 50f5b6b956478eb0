from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from neo.compiler.bundle import next_version, sign_bundle
from neo.contract.manifest import BUNDLE_TYPE, CONFIG_TYPE
from neo.contract.oci import CREATED, REF_NAME, Descriptor, ImageIndex, ImageManifest
from neo.errors import BundleError, StoreError
from neo.store import Store
from neo.store.bundles import MAX_MANIFEST_BYTES, bundle_entries, find_bundle, open_bundle, parse_image, signatures_of
from neo.trust import verify_statement
from neo.trust.statement import SIGNATURE_TYPE
from tests.store.bundles import FILES, add_bundle, index_entry, manifest_of, write_bundle

needs_skopeo = pytest.mark.skipif(
    shutil.which("skopeo") is None, reason="skopeo is not installed: apt-get install skopeo, or scripts/test-programs"
)


def test_a_bundle_is_listed_under_its_reference_and_comes_back_whole(store: Store, tmp_path: Path) -> None:
    bundle = add_bundle(store, tmp_path / "files")
    (entry,) = bundle_entries(store)
    assert entry.annotations[REF_NAME] == "digits:1-host"
    assert entry.annotations[CREATED].endswith("+00:00")
    assert open_bundle(store, entry).manifest == bundle.manifest
    assert {layer.title for layer in bundle.image.layers} == set(FILES)
    blobs = [bundle.descriptor, bundle.image.config, *bundle.image.layers]
    assert bundle.size_bytes == sum(store.path(blob.digest).stat().st_size for blob in blobs)


def test_the_same_files_make_the_same_digest(store: Store, tmp_path: Path) -> None:
    first, second = (add_bundle(store, tmp_path / folder).descriptor.digest for folder in "ab")
    assert first == second
    assert len(bundle_entries(store)) == 1


@pytest.mark.parametrize(
    "titles",
    [
        ["../x"],
        ["/etc/passwd"],
        [""],
        ["a\0b"],
        ["a", "a"],
        ["manifest.json"],
        ["manifest.json/x"],
        ["a", "a/b"],
        ["a/b/c", "a/b"],
        ["x" * 600],
    ],
)
def test_files_that_would_clash_or_leave_the_folder_make_no_bundle(store: Store, titles: list[str]) -> None:
    layers = tuple(store.put(b"x", "t").titled(title) for title in titles)
    image = ImageManifest(BUNDLE_TYPE, store.put(manifest_of().to_bytes(), CONFIG_TYPE), layers)
    with pytest.raises(BundleError):
        parse_image(image.to_bytes())
    with pytest.raises(BundleError):
        open_bundle(store, store.put_manifest(image))


def test_names_that_only_begin_alike_are_no_clash(store: Store) -> None:
    layers = tuple(store.put(b"x", "t").titled(title) for title in ("a", "ab/c", "a.b", "b/manifest.json"))
    image = ImageManifest(BUNDLE_TYPE, store.put_empty(), layers)
    with pytest.raises(BundleError, match="not a neo-edge bundle"):  # an empty config
        parse_image(image.to_bytes())
    image = replace(image, config=Descriptor(CONFIG_TYPE, image.config.digest, 2))
    assert parse_image(image.to_bytes()) == image


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b"[" * 5000, ImageIndex().to_bytes()])
def test_what_is_no_manifest_is_no_bundle(store: Store, data: bytes) -> None:
    with pytest.raises(BundleError):
        parse_image(data)
    with pytest.raises(BundleError):
        open_bundle(store, store.put(data, "t"))


def test_a_config_that_is_no_manifest_is_no_bundle(store: Store) -> None:
    image = ImageManifest(BUNDLE_TYPE, store.put(b"{}", CONFIG_TYPE), ())
    with pytest.raises(BundleError, match="schema"):
        open_bundle(store, store.put_manifest(image))


def test_a_manifest_that_claims_to_be_huge_is_not_read(store: Store, tmp_path: Path) -> None:
    descriptor = add_bundle(store, tmp_path / "files").descriptor
    with pytest.raises(BundleError, match="at most"):
        open_bundle(store, replace(descriptor, size=MAX_MANIFEST_BYTES + 1))
    with pytest.raises(StoreError, match="expected"):
        open_bundle(store, replace(descriptor, size=descriptor.size + 1))


def test_a_bundle_that_no_device_would_take_is_not_listed(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a\\b").write_bytes(b"")
    with pytest.raises(BundleError, match="no file path inside a bundle"):
        write_bundle(store, manifest_of(), tmp_path)
    assert bundle_entries(store) == ()


@pytest.fixture
def shelf(store: Store, tmp_path: Path) -> dict[str, str]:
    """Reference -> digest of four bundles."""
    made = [
        ("digits", "1", "host"),
        ("digits", "2", "host"),
        ("digits", "2", "raspberry-pi-4"),
        ("net-large", "1", "x"),
    ]
    bundles = [add_bundle(store, tmp_path / "-".join(key), *key) for key in made]
    return {bundle.manifest.reference: bundle.descriptor.digest for bundle in bundles}


def test_a_bundle_is_found_by_its_name_its_digest_or_the_beginning_of_either(
    store: Store, shelf: dict[str, str]
) -> None:
    for reference, digest in shelf.items():
        for text in (reference, digest, digest.removeprefix("sha256:"), digest[:19], digest[7:13]):
            assert find_bundle(store, text).descriptor.digest == digest
    assert find_bundle(store, "net-large").manifest.reference == "net-large:1-x"
    assert find_bundle(store, "digits:1").manifest.reference == "digits:1-host"


@pytest.mark.parametrize("text", ["digits", "digits:2"])
def test_what_could_be_several_bundles_names_them(store: Store, shelf: dict[str, str], text: str) -> None:
    with pytest.raises(StoreError, match="could be any of digits:") as raised:
        find_bundle(store, text)
    assert raised.value.hint == "give the whole reference, as in digits:2-host"
    assert "net-large" not in raised.value.message


@pytest.mark.parametrize(
    "text", ["", "nothing", "net", "digits:3", "digits:", "sha256:", "sha256:12345", "host", "../x"]
)
def test_what_is_no_bundle_lists_those_there_are(store: Store, shelf: dict[str, str], text: str) -> None:
    with pytest.raises(StoreError, match="there is no bundle") as raised:
        find_bundle(store, text)
    assert all(reference in raised.value.hint for reference in shelf)


def test_a_name_means_the_newest_version(store: Store, tmp_path: Path) -> None:
    for index, version in enumerate(("9", "10", "2")):
        add_bundle(store, tmp_path / str(index), "net", version, "x-1")
    assert find_bundle(store, "net").manifest.reference == "net:10-x-1"
    assert find_bundle(store, "net:9").manifest.reference == "net:9-x-1"
    # other versions have no order but that of their making
    for version in ("2026-b", "2026-a"):
        add_bundle(store, tmp_path / version, "other", version, "x")
    assert find_bundle(store, "other").manifest.version == "2026-a"
    assert find_bundle(store, "other:2026-b").manifest.version == "2026-b"
    with pytest.raises(StoreError, match="there is no bundle 'other:2026'"):
        find_bundle(store, "other:2026")


def test_of_several_targets_the_one_that_runs_here_is_meant(store: Store, shelf: dict[str, str]) -> None:
    assert find_bundle(store, "digits", lambda m: m.target != "host").manifest.reference == "digits:2-raspberry-pi-4"
    assert find_bundle(store, "digits", lambda _: True).manifest.reference == "digits:2-host"
    with pytest.raises(StoreError, match="could be any of digits:2-host, digits:2-raspberry-pi-4"):
        find_bundle(store, "digits", lambda _: False)


def test_an_exact_name_wins_over_longer_ones(store: Store, tmp_path: Path) -> None:
    for name in ("net", "net-large"):
        add_bundle(store, tmp_path / name, name)
    assert find_bundle(store, "net").manifest.name == "net"
    assert find_bundle(store, "net-large").manifest.name == "net-large"


def test_an_empty_store_says_how_to_make_a_bundle(store: Store) -> None:
    with pytest.raises(StoreError) as raised:
        find_bundle(store, "x")
    assert "neo compile" in raised.value.hint


def test_versions_count_up_per_model_whatever_the_target(store: Store, shelf: dict[str, str], tmp_path: Path) -> None:
    assert next_version(store.index().manifests, "digits") == "3"
    assert next_version(store.index().manifests, "digit") == "1"
    assert next_version(store.index().manifests, "d.gits") == "1"
    add_bundle(store, tmp_path / "named", version="v7")
    add_bundle(store, tmp_path / "ten", version="10")
    assert next_version(store.index().manifests, "digits") == "11"


def test_a_signature_is_found_by_the_bundle_it_is_about(store: Store, tmp_path: Path) -> None:
    signer = CryptoSigner.generate_ed25519()
    one, two = (add_bundle(store, tmp_path / v, version=v) for v in "12")
    envelope = sign_bundle(store, one, signer)
    assert signatures_of(store, one.descriptor.digest, SIGNATURE_TYPE) == (envelope,)
    assert signatures_of(store, two.descriptor.digest, SIGNATURE_TYPE) == ()
    statement = verify_statement(store.read(envelope), [signer.public_key])
    assert (statement.digest, statement.size) == (one.descriptor.digest, one.descriptor.size)
    assert statement.reference == "digits:1-host"


def test_signing_twice_lists_one_signature_and_another_key_adds_its_own(store: Store, tmp_path: Path) -> None:
    bundle = add_bundle(store, tmp_path / "files")
    first, second = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()
    made = [sign_bundle(store, bundle, signer) for signer in (first, first, second)]
    assert signatures_of(store, bundle.descriptor.digest, SIGNATURE_TYPE) == (made[0], made[2])


def test_a_signature_that_is_no_manifest_is_the_stores_fault(store: Store) -> None:
    rubbish = store.put(b"{}", "t")
    store.add_to_index(index_entry(store, ImageManifest("t", store.put_empty(), ()), artifact_type=SIGNATURE_TYPE))
    store.add_to_index(
        Descriptor("application/vnd.oci.image.manifest.v1+json", rubbish.digest, 2, artifact_type=SIGNATURE_TYPE)
    )
    with pytest.raises(StoreError, match="no manifest"):
        signatures_of(store, rubbish.digest, SIGNATURE_TYPE)


def skopeo(*arguments: str) -> bytes:
    return subprocess.run(["skopeo", *arguments], check=True, capture_output=True, timeout=60).stdout  # noqa: S607


@needs_skopeo
def test_skopeo_reads_a_bundle(store: Store, tmp_path: Path) -> None:
    bundle = add_bundle(store, tmp_path / "files")
    raw = skopeo("inspect", "--raw", f"oci:{store.root}:digits:1-host")
    assert raw == bundle.image.to_bytes()
    assert json.loads(raw)["artifactType"] == BUNDLE_TYPE


@needs_skopeo
def test_a_bundle_that_skopeo_carried_is_the_same_bundle(store: Store, tmp_path: Path) -> None:
    bundle = add_bundle(store, tmp_path / "files")
    other = Store(tmp_path / "other")
    kept = add_bundle(other, tmp_path / "files", name="kept")
    sign_bundle(other, kept, CryptoSigner.generate_ed25519())
    skopeo("--insecure-policy", "copy", f"oci:{store.root}:digits:1-host", f"oci:{other.root}:digits:1-host")
    carried = find_bundle(other, "digits:1-host")
    assert carried.descriptor.digest == bundle.descriptor.digest
    for layer in (carried.image.config, *carried.image.layers):
        other.verify(layer)
    assert find_bundle(other, "kept").manifest == kept.manifest
    assert len(signatures_of(other, kept.descriptor.digest, SIGNATURE_TYPE)) == 1

"""All bundles of a call are listed, signed, in one step, or none; two calls at one moment lose nothing."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner

from neo.compiler.bundle import publish
from neo.compiler.draft import Draft, stage
from neo.contract.chunks import CHUNK_BYTES, table_path
from neo.contract.manifest import REPORT_PATH, ChunkTable, Manifest
from neo.contract.variants import Traits
from neo.errors import BundleError, DiskFull, StoreError
from neo.fleet.assign import signatures_by_variant
from neo.store import Store
from neo.store.bundles import Bundle, bundle_entries, find_bundle, signatures_of
from neo.store.releases import find_release
from neo.trust import verify_statement
from neo.trust.statement import SIGNATURE_TYPE
from tests.store.bundles import FILES, manifest_of

TARGETS = ("host", "raspberry-pi-4")
ROOT = Path(__file__).parents[2]
REPORT = {"notes": ["x"]}


def draft(
    store: Store, folder: Path, target: str = "host", version: str = "", report: Mapping[str, Any] = REPORT
) -> Draft:
    for title, data in FILES.items():
        (folder / target / title).parent.mkdir(parents=True, exist_ok=True)
        (folder / target / title).write_bytes(data + target.encode())
    return stage(store, manifest_of(version=version, target=target), folder / target, report)


def references(store: Store) -> list[str]:
    return [find_bundle(store, entry.digest).manifest.reference for entry in bundle_entries(store)]


def test_bundles_are_numbered_when_they_are_listed(store: Store, tmp_path: Path) -> None:
    drafts = [draft(store, tmp_path, target) for target in TARGETS]
    assert references(store) == []
    first = publish(store, drafts)
    second = publish(store, drafts[:1])
    assert [b.manifest.reference for b in (*first, *second)] == references(store)
    assert references(store) == ["digits:1-host", "digits:1-raspberry-pi-4", "digits:2-host"]


def test_the_report_says_the_number_that_the_bundle_got(store: Store, tmp_path: Path) -> None:
    one = draft(store, tmp_path)
    for number in ("1", "2"):
        (bundle,) = publish(store, [one])
        (report,) = (layer for layer in bundle.image.layers if layer.title == REPORT_PATH)
        assert json.loads(store.read(report)) == {"reference": f"digits:{number}-host", "notes": ["x"]}


def report_of(store: Store, bundle: Bundle) -> dict[str, Any]:
    (report,) = (layer for layer in bundle.image.layers if layer.title == REPORT_PATH)
    value: dict[str, Any] = json.loads(store.read(report))
    return value


def test_all_of_a_call_get_one_number(store: Store, tmp_path: Path) -> None:
    publish(store, [draft(store, tmp_path)])
    bundles = publish(store, [draft(store, tmp_path, target) for target in TARGETS])
    assert [b.manifest.reference for b in bundles] == ["digits:2-host", "digits:2-raspberry-pi-4"]


@pytest.mark.parametrize("padding", [0, CHUNK_BYTES])  # a large report has a chunk table
def test_variants_of_the_same_source_go_on_under_the_next_number(store: Store, tmp_path: Path, padding: int) -> None:
    signer = CryptoSigner.generate_ed25519()
    report = {"source_key": "a", "padding": "x" * padding}
    one = draft(store, tmp_path, "host", report=report)
    (first,) = publish(store, [replace(one, traits=Traits("zen4", 1.5, "kind"))])
    (second,) = publish(store, [draft(store, tmp_path, "raspberry-pi-4", report=report)], signer)
    assert second.manifest.reference == "digits:2-raspberry-pi-4"
    release = find_release(store, "digits")
    assert {variant.reference for variant in release.variants} == {"digits:2-raspberry-pi-4", "digits:2-host"}
    (carried,) = (variant for variant in release.variants if variant.bundle.manifest.target == "host")
    assert carried.traits == Traits("zen4", 1.5, "kind")
    assert report_of(store, carried.bundle) == {**report, "reference": "digits:2-host"}
    files = [[layer for layer in b.image.layers if layer.title.startswith("engine")] for b in (first, carried.bundle)]
    assert files[0] == files[1]
    assert carried.bundle.manifest == replace(first.manifest, version="2", chunks=carried.bundle.manifest.chunks)
    assert len(carried.bundle.manifest.chunks) == (padding > 0)
    assert Manifest.from_bytes(store.read(carried.bundle.image.config)) == carried.bundle.manifest
    assert signatures_by_variant(release, store).keys() == {variant.digest for variant in release.variants}
    # what was listed stays as it was
    assert [v.digest for v in find_release(store, "digits:1").variants] == [first.descriptor.digest]


@pytest.mark.parametrize(
    ("before", "then", "version"),
    [
        ({"source_key": "a"}, {"source_key": "b"}, ""),  # trained again
        ({"notes": ["x"]}, {"notes": ["x"]}, ""),  # nobody knows of what it is made
        ({"source_key": None}, {"source_key": None}, ""),
        ({"source_key": "a"}, {"source_key": "a"}, "7"),  # a version of the user's own is what it was given
    ],
)
def test_nothing_else_goes_on(
    store: Store, tmp_path: Path, before: dict[str, Any], then: dict[str, Any], version: str
) -> None:
    publish(store, [draft(store, tmp_path, "host", report=before)])
    publish(store, [draft(store, tmp_path, "raspberry-pi-4", version, report=then)])
    assert references(store) == ["digits:1-host", f"digits:{version or '2'}-raspberry-pi-4"]


def test_only_what_the_newest_number_has_goes_on_and_what_is_damaged_does_not(store: Store, tmp_path: Path) -> None:
    report = {"source_key": "a"}
    publish(store, [draft(store, tmp_path, "x86-64-v2", report=report)])
    publish(store, [draft(store, tmp_path, "x86-64-v3", report={"source_key": "b"})])
    publish(store, [draft(store, tmp_path, "host", report=report)])
    assert references(store)[-1] == "digits:3-host"
    assert len(references(store)) == 3
    host = find_bundle(store, "digits:3-host")
    path = store.path(host.image.config.digest)
    path.chmod(0o600)
    path.write_bytes(b"{}")
    publish(store, [draft(store, tmp_path, "raspberry-pi-4", report=report)])
    assert [v.reference for v in find_release(store, "digits:4").variants] == ["digits:4-raspberry-pi-4"]


def test_every_file_larger_than_a_chunk_has_a_table_that_is_a_file_of_the_bundle(store: Store, tmp_path: Path) -> None:
    files = {"engine/one.bin": 1, "engine/full.bin": CHUNK_BYTES, "engine/two.bin": CHUNK_BYTES + 1}
    for title, size in files.items():
        (tmp_path / "files" / title).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "files" / title).write_bytes(bytes(size))
    (tmp_path / "files" / "copy.bin").write_bytes(bytes(CHUNK_BYTES + 1))
    (bundle,) = publish(store, [stage(store, manifest_of(), tmp_path / "files", {"notes": ["x" * CHUNK_BYTES]})])
    layers = {layer.title: layer for layer in bundle.image.layers}
    tables = {layers[title].digest: layers[table_path(layers[title].digest)] for title in ("copy.bin", REPORT_PATH)}
    assert layers["copy.bin"].digest == layers["engine/two.bin"].digest
    assert len(layers) == 4 + 1 + 2
    assert bundle.manifest.chunks == tuple(
        ChunkTable(digest, table.digest, CHUNK_BYTES) for digest, table in tables.items()
    )
    zeros = [hashlib.sha256(bytes(size)).digest() for size in (CHUNK_BYTES, 1)]
    assert store.read(tables[layers["copy.bin"].digest]) == b"".join(zeros)
    assert Manifest.from_bytes(store.read(bundle.image.config)) == bundle.manifest
    store.collect_garbage([bundle.descriptor.digest])
    assert all(store.has(table.digest) for table in tables.values())


def test_what_is_listed_is_signed(store: Store, tmp_path: Path) -> None:
    signer = CryptoSigner.generate_ed25519()
    for bundle in publish(store, [draft(store, tmp_path, target) for target in TARGETS], signer):
        (envelope,) = signatures_of(store, bundle.descriptor.digest, SIGNATURE_TYPE)
        statement = verify_statement(store.read(envelope), [signer.public_key])
        assert (statement.digest, statement.reference) == (bundle.descriptor.digest, bundle.manifest.reference)


def test_a_reference_that_is_taken_is_refused_and_nothing_of_the_call_is_listed(store: Store, tmp_path: Path) -> None:
    (old,) = publish(store, [draft(store, tmp_path, "host", "1")])
    drafts = [draft(store, tmp_path / "new", target, "1") for target in reversed(TARGETS)]
    with pytest.raises(StoreError, match=r"digits:1-host is in .* already") as raised:
        publish(store, drafts)
    assert "--replace" in raised.value.hint
    assert references(store) == ["digits:1-host"]
    assert find_bundle(store, "digits:1-host").descriptor.digest == old.descriptor.digest


def test_a_bundle_is_replaced_where_that_is_asked_for(store: Store, tmp_path: Path) -> None:
    (old,) = publish(store, [draft(store, tmp_path, "host", "1")])
    other = replace(draft(store, tmp_path, "host", "1"), report={"notes": ["another"]})
    (new,) = publish(store, [other], replace_listed=True)
    assert new.descriptor.digest != old.descriptor.digest
    assert find_bundle(store, "digits:1-host").descriptor.digest == new.descriptor.digest
    assert references(store) == ["digits:1-host"]


def test_one_bundle_that_no_device_would_take_keeps_the_other_out(store: Store, tmp_path: Path) -> None:
    good = draft(store, tmp_path)
    bad = draft(store, tmp_path, "raspberry-pi-4")
    bad = replace(bad, layers=(bad.layers[0].titled("../x"),))
    with pytest.raises(BundleError):
        publish(store, [good, bad])
    assert references(store) == []


def test_a_disk_that_is_full_at_any_write_lists_none_or_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the write belongs to: a file, a manifest or a signature of either bundle, or the index."""
    signer = CryptoSigner.generate_ed25519()
    fsync = os.fsync
    outcomes: list[list[str]] = []
    for full_at in range(1, 100):
        store = Store(tmp_path / str(full_at))
        left = full_at

        def full(fd: int) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            fsync(fd)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            try:
                publish(store, [draft(store, tmp_path / "files", target) for target in TARGETS], signer)
            except DiskFull:
                outcomes.append(references(store))
                continue
        break
    # the last write is that of the folder, when the new index is in its place already
    assert len(outcomes) > 20
    assert outcomes == [[]] * (len(outcomes) - 1) + [["digits:1-host", "digits:1-raspberry-pi-4"]]
    assert references(store) == ["digits:1-host", "digits:1-raspberry-pi-4"]


def test_killed_between_signing_and_listing_nothing_is_listed(store: Store, tmp_path: Path) -> None:
    script = """
        import os, signal, sys
        from pathlib import Path
        from securesystemslib.signer import CryptoSigner
        from neo.store import Store, layout
        from neo.compiler import bundle
        from tests.store.test_publish import TARGETS, draft

        store, folder = Store(Path(sys.argv[1])), Path(sys.argv[2])
        drafts = [draft(store, folder, target) for target in TARGETS]
        replace_file = layout.replace_file
        signed = []
        sign = bundle._sign
        bundle._sign = lambda *given: signed.append(sign(*given)) or signed[-1]
        def dying(path, data, mode=0o644):
            if path.name == "index.json":
                assert len(signed) == len(TARGETS)
                os.kill(os.getpid(), signal.SIGKILL)
            replace_file(path, data, mode)
        layout.replace_file = dying
        bundle.publish(store, drafts, CryptoSigner.generate_ed25519())
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(store.root), str(tmp_path / "files")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)
    assert done.returncode == -9, done.stderr
    assert store.index().manifests == ()
    publish(store, [draft(store, tmp_path, target) for target in TARGETS])
    assert references(store) == ["digits:1-host", "digits:1-raspberry-pi-4"]


def test_two_calls_at_one_moment_get_two_numbers(store: Store, tmp_path: Path) -> None:
    """Both wait at the store's lock when it opens: whoever chose a number before it would choose the same one."""
    script = """
        import sys
        from pathlib import Path
        from neo.store import Store
        from neo.compiler.bundle import publish
        from tests.store.test_publish import draft

        store = Store(Path(sys.argv[1]))
        staged = draft(store, Path(sys.argv[2]))
        print("ready", flush=True)
        publish(store, [staged])
    """
    with (store.root / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        children = [
            subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(script), str(store.root), str(tmp_path / name)],
                stdout=subprocess.PIPE,
                cwd=ROOT,
            )
            for name in ("one", "two")
        ]
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
    for child in children:
        child.communicate(timeout=60)
        assert child.returncode == 0
    assert sorted(references(store)) == ["digits:1-host", "digits:2-host"]


@pytest.mark.parametrize("kind", ["missing", "empty", "file", "too long"])
def test_reading_makes_no_store(tmp_path: Path, kind: str) -> None:
    root = tmp_path / ("x" * 300 if kind == "too long" else "there")
    if kind == "empty":
        root.mkdir()
    elif kind == "file":
        root.write_bytes(b"")
    with pytest.raises(StoreError, match="there is no store in"):
        Store(root, create=False)
    assert [path for path in tmp_path.rglob("*") if path != root] == []


def test_reading_changes_nothing_in_a_store(store: Store, tmp_path: Path) -> None:
    (bundle,) = publish(store, [draft(store, tmp_path)])
    (store.root / "ingest").rmdir()
    before = {path: path.stat().st_mtime_ns for path in (store.root, *store.root.rglob("*"))}
    assert find_bundle(Store(store.root, create=False), "digits").manifest == bundle.manifest
    assert {path: path.stat().st_mtime_ns for path in (store.root, *store.root.rglob("*"))} == before

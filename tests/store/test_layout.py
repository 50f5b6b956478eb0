"""The store's index and folders: nothing is lost, whoever else writes and whenever the power goes."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from neo.contract.fields import ContractError
from neo.contract.oci import INDEX_TYPE, MANIFEST_TYPE, REF_NAME, Descriptor, ImageIndex
from neo.durable import replace_file, replace_symlink
from neo.errors import StoreError
from neo.store import Store
from neo.store.bundles import bundle_entries, find_bundle, open_bundle
from tests.store.bundles import add_bundle, manifest_of, write_bundle

# names that index.json has before and after the second bundle, each with its release
OLD = ["digits:1-host", "digits:1"]
NEW = [*OLD, "digits:2-host", "digits:2"]


def entry(number: int, **fields: object) -> Descriptor:
    return Descriptor(MANIFEST_TYPE, f"sha256:{number:064x}", 1, **fields)


def hidden(store: Store) -> list[str]:
    return [path.name for path in store.root.rglob(".*") if path.name != ".lock"]


def test_a_fresh_store_is_an_oci_image_layout(store: Store) -> None:
    assert json.loads((store.root / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((store.root / "index.json").read_bytes())
    assert index == {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": []}
    assert (store.root / "blobs" / "sha256").is_dir()


def test_opening_a_store_again_keeps_its_index(store: Store) -> None:
    store.add_to_index(entry(1))
    assert Store(store.root).index().manifests == (entry(1),)


def test_a_store_whose_making_was_cut_short_keeps_what_was_listed(store: Store) -> None:
    store.add_to_index(entry(1))
    (store.root / "oci-layout").unlink()
    assert Store(store.root).index().manifests == (entry(1),)
    assert (store.root / "oci-layout").exists()


@pytest.mark.parametrize("data", [b'{"imageLayoutVersion":"2.0.0"}', b"", b"\xff"])
def test_a_layout_of_another_version_is_refused(store: Store, data: bytes) -> None:
    (store.root / "oci-layout").write_bytes(data)
    with pytest.raises(StoreError, match="another version"):
        Store(store.root)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"schemaVersion":1}', b'{"schemaVersion":2,"manifests":[{}]}'])
def test_a_damaged_index_names_the_file(store: Store, data: bytes) -> None:
    (store.root / "index.json").write_bytes(data)
    with pytest.raises(StoreError, match=r"index\.json is damaged"):
        store.index()


def test_a_store_that_cannot_be_made_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="file"):
        Store(tmp_path / "file")


def test_an_entry_replaces_the_one_with_its_digest_or_its_name(store: Store) -> None:
    store.add_to_index(entry(1, annotations={REF_NAME: "a"}))
    store.add_to_index(entry(2, annotations={REF_NAME: "b"}))
    store.add_to_index(entry(3))
    store.add_to_index(entry(4, annotations={REF_NAME: "a"}))
    store.add_to_index(entry(3, artifact_type="t"))
    assert [e.digest[-1] for e in store.index().manifests] == ["2", "4", "3"]
    store.remove_from_index([entry(2).digest, entry(9).digest])
    assert [e.digest[-1] for e in store.index().manifests] == ["4", "3"]


def test_processes_that_write_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    """They make the store together, too: whoever comes second must not empty the first one's index."""
    script = """
        import sys
        from pathlib import Path
        from neo.contract.oci import Descriptor
        from neo.store import Store
        root, first = Path(sys.argv[1]), int(sys.argv[2])
        print("ready", flush=True)
        sys.stdin.readline()
        for number in range(first, first + 10):
            Store(root).add_to_index(Descriptor("t", f"sha256:{number:064x}", 1))
            Store(root).put(b"the same" * 1000, "t")
    """
    root = tmp_path / "store"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script), str(root), str(first)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for first in range(0, 60, 10)
    ]
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
    for child in children:
        child.communicate(b"go\n", timeout=60)
        assert child.returncode == 0
    found = {e.digest for e in Store(root).index().manifests}
    assert found == {f"sha256:{number:064x}" for number in range(60)}
    assert hidden(Store(root)) == []


class Fault:
    """Raises an OSError at the nth call of what makes files durable; counts them all."""

    # Path.replace and not os.replace: Python 3.10's pathlib keeps its own reference
    CALLS = ((Path, "replace"), (os, "fsync"), (os, "fchmod"), (os, "link"), (os, "open"))

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
        self.at = at
        self.count = 0
        for owner, name in self.CALLS:
            monkeypatch.setattr(owner, name, self._failing(name, getattr(owner, name)))

    def _failing(self, name: str, call: object) -> object:
        def wrapped(*args: object, **kwargs: object) -> object:
            self.count += 1
            if self.count == self.at:
                raise OSError(errno.EIO, f"injected into {name}")
            return call(*args, **kwargs)  # type: ignore[operator]

        return wrapped


def test_a_fault_at_any_step_leaves_the_old_or_the_new_index(tmp_path: Path) -> None:
    source = tmp_path / "files"
    at = 0
    outcomes = set()
    while True:
        at += 1
        store = Store(tmp_path / f"store-{at}")
        old = add_bundle(store, source, version="1")
        with pytest.MonkeyPatch.context() as monkeypatch:
            fault = Fault(monkeypatch, at)
            failed = False
            try:
                write_bundle(store, manifest_of(version="2"), source)
            except StoreError:
                failed = True
        store = Store(store.root)
        references = [e.annotations[REF_NAME] for e in store.index().manifests]
        assert references in (OLD, NEW)
        for reference in references:
            bundle = find_bundle(store, reference)
            for layer in (bundle.image.config, *bundle.image.layers):
                store.verify(layer)
        assert open_bundle(store, old.descriptor).manifest.version == "1"
        assert hidden(store) == []
        outcomes.add((failed, len(references)))
        if fault.count < at:
            break
    assert at > 10
    assert {(True, 2), (False, 4)} <= outcomes


def test_a_power_cut_at_any_step_leaves_the_old_or_the_new_index(tmp_path: Path) -> None:
    """As above, but the process is gone at once and cleans nothing up."""
    script = """
        import os, shutil, sys
        from pathlib import Path
        from neo.contract.oci import REF_NAME
        from neo.store import Store
        from neo.store.bundles import find_bundle
        from tests.store.bundles import add_bundle, manifest_of, write_bundle

        OLD = ["digits:1-host", "digits:1"]
        NEW = [*OLD, "digits:2-host", "digits:2"]
        root = Path(sys.argv[1])
        add_bundle(Store(root / "start"), root / "files", version="1")
        (root / "files" / "more.bin").write_bytes(bytes(100_000))
        calls = ((Path, "replace"), (os, "fsync"), (os, "fchmod"), (os, "open"))
        cut = 0
        seen = set()
        while True:
            cut += 1
            shutil.rmtree(root / "store", ignore_errors=True)
            shutil.copytree(root / "start", root / "store")
            child = os.fork()
            if child == 0:
                count = 0
                def dying(call):
                    def wrapped(*args, **kwargs):
                        global count
                        count += 1
                        if count == cut:
                            os._exit(9)
                        return call(*args, **kwargs)
                    return wrapped
                for owner, name in calls:
                    setattr(owner, name, dying(getattr(owner, name)))
                write_bundle(Store(root / "store"), manifest_of(version="2"), root / "files")
                os._exit(0)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            store = Store(root / "store")
            found = [e.annotations[REF_NAME] for e in store.index().manifests]
            assert found in (OLD, NEW), found
            for reference in found:
                bundle = find_bundle(store, reference)
                for layer in (bundle.image.config, *bundle.image.layers):
                    store.verify(layer)
            again = write_bundle(store, manifest_of(version="2"), root / "files")
            assert find_bundle(store, "digits:2-host").descriptor.digest == again.descriptor.digest
            seen.add((code, len(found)))
            if code == 0:
                break
        assert cut > 10, cut
        assert seen == {(9, 2), (9, 4), (0, 4)}, seen
    """
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script), str(tmp_path)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=root)
    assert done.returncode == 0, done.stderr


def test_a_file_is_synced_before_it_is_renamed_and_its_folder_after(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, rename = os.fsync, Path.replace

    def logged_fsync(fd: int) -> None:
        events.append("sync " + Path(f"/proc/self/fd/{fd}").readlink().parent.name)
        fsync(fd)

    def logged_rename(source: Path, target: Path) -> Path:
        events.append("rename")
        return rename(source, target)

    monkeypatch.setattr(os, "fsync", logged_fsync)
    monkeypatch.setattr(Path, "replace", logged_rename)
    store.put(b"abc", "t")
    assert events == ["sync sha256", "rename", "sync blobs"]
    events.clear()
    (tmp_path / "file").write_bytes(b"abcd")
    store.put_file(tmp_path / "file", "t")
    assert events == ["sync ingest", "rename", "sync blobs"]
    events.clear()
    store.add_to_index(entry(1))
    assert events == [f"sync {store.root.name}", "rename", f"sync {store.root.parent.name}"]


def test_a_failed_replacement_leaves_the_old_file_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    replace_file(path, b"old", mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600
    Fault(monkeypatch, at=3)
    with pytest.raises(StoreError, match="cannot write"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_points_to_the_old_or_the_new(tmp_path: Path) -> None:
    link = tmp_path / "current"
    for target in ("slots/a", "slots/b"):
        replace_symlink(link, target)
        assert str(link.readlink()) == target
    assert list(tmp_path.iterdir()) == [link]


def test_a_damaged_blob_is_noticed_by_reading_and_mended_by_writing_again(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abcd")
    for descriptor in (store.put(b"abc", "t"), store.put_file(tmp_path / "file", "t")):
        path = store.path(descriptor.digest)
        for damage in (b"x" * descriptor.size, b"", b"longer than before"):
            path.chmod(0o644)
            path.write_bytes(damage)
            with pytest.raises(StoreError):
                store.verify(descriptor)
            with pytest.raises(StoreError):
                store.read(descriptor)
            store.put(b"abc", "t")
            store.put_file(tmp_path / "file", "t")
            store.verify(descriptor)


def test_a_blob_that_is_not_here_is_named(store: Store) -> None:
    digest = entry(1).digest
    assert not store.has(digest)
    with pytest.raises(StoreError, match=digest):
        store.path(digest)
    with pytest.raises(StoreError, match="cannot read"):
        store.put_file(store.root / "nothing", "t")


@pytest.mark.parametrize("digest", ["", "sha256:../../../etc/passwd", "sha256:" + "A" * 64, "../" + "a" * 64])
def test_a_digest_that_is_a_path_is_none(store: Store, digest: str) -> None:
    for use in (store.has, store.path, lambda d: store.ingest(d, 1)):
        with pytest.raises(ContractError):
            use(digest)


def test_garbage_collection_keeps_the_bundles_it_is_told_to(store: Store, tmp_path: Path) -> None:
    old = add_bundle(store, tmp_path / "1", version="1", files={"a": b"shared", "b": b"old"})
    new = add_bundle(store, tmp_path / "2", version="2", files={"a": b"shared", "b": b"newer"})
    partial = entry(7).digest
    with store.ingest(partial, 10) as ingest:
        ingest.write(b"12345")
    (store.root / "blobs" / "sha256" / ".left-by-a-kill").write_bytes(b"123")
    # an agent's store has none
    releases = sum(entry.size for entry in store.index().manifests if entry.media_type == INDEX_TYPE)
    freed = store.collect_garbage([new.descriptor.digest, entry(9).digest])
    only_old = old.size_bytes - len("shared")
    assert freed == only_old + 5 + 3 + releases
    for layer in (new.image.config, *new.image.layers):
        store.verify(layer)
    assert not store.has(old.descriptor.digest)
    assert list((store.root / "ingest").iterdir()) == []
    assert store.collect_garbage([new.descriptor.digest]) == 0


def test_an_ingest_of_a_kept_bundles_file_survives(store: Store, tmp_path: Path) -> None:
    bundle = add_bundle(store, tmp_path / "files")
    layer = bundle.image.layers[0]
    store.path(layer.digest).unlink()
    with store.ingest(layer.digest, layer.size) as ingest:
        ingest.write(b"{")
    store.collect_garbage([bundle.descriptor.digest])
    with store.ingest(layer.digest, layer.size) as ingest:
        assert ingest.offset == 1


def test_garbage_collection_removes_nothing_if_it_cannot_tell(store: Store, tmp_path: Path) -> None:
    bundle = add_bundle(store, tmp_path / "files")
    path = store.path(bundle.descriptor.digest)
    path.chmod(0o644)
    path.write_bytes(b"rotten")
    before = sorted(store.root.rglob("*"))
    with pytest.raises(StoreError, match="no manifest"):
        store.collect_garbage([bundle.descriptor.digest])
    assert sorted(store.root.rglob("*")) == before


def test_entries_that_another_tool_wrote_get_their_type_from_the_manifest(store: Store, tmp_path: Path) -> None:
    bundle = add_bundle(store, tmp_path / "files")
    (listed,) = bundle_entries(store)
    foreign = (replace(listed, artifact_type=""), entry(5), Descriptor(INDEX_TYPE, entry(6).digest, 3))
    (store.root / "index.json").write_bytes(ImageIndex(foreign).to_bytes())
    assert store.index().manifests == (listed, *foreign[1:])
    assert find_bundle(store, "digits").descriptor.digest == bundle.descriptor.digest

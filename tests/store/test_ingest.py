"""A blob on its way in: interrupted anywhere, by anything, it arrives whole or not at all."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neo.contract.oci import Descriptor, digest_of
from neo.errors import DiskFull, StoreError
from neo.store import Store

DATA = bytes(range(256)) * 40
DIGEST = digest_of(DATA)
BLOB = Descriptor("t", DIGEST, len(DATA))


def leftovers(store: Store) -> list[str]:
    return sorted(path.name for folder in ("ingest", "blobs/sha256") for path in (store.root / folder).iterdir())


@settings(max_examples=30)
@given(data=st.binary(max_size=2000), cuts=st.lists(st.integers(0, 2000), max_size=5))
def test_an_ingest_goes_on_from_whatever_byte_it_was_dropped_at(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, cuts: list[int]
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    digest = digest_of(data)
    for cut in sorted(cuts):
        with store.ingest(digest, len(data)) as ingest:
            ingest.write(data[ingest.offset : max(cut, ingest.offset)])
        assert not store.has(digest)
    with store.ingest(digest, len(data)) as ingest:
        assert ingest.offset == min(max(cuts, default=0), len(data))
        ingest.write(data[ingest.offset :])
        ingest.commit()
    assert store.read(Descriptor("t", digest, len(data))) == data
    assert leftovers(store) == [digest.removeprefix("sha256:")]


@pytest.mark.parametrize("wrong", [DATA[:-1] + b"\0", DATA[:-1], b""])
def test_a_wrong_digest_is_dropped_and_leaves_nothing(store: Store, wrong: bytes) -> None:
    with store.ingest(DIGEST, len(DATA)) as ingest:
        ingest.write(wrong)
        with pytest.raises(StoreError, match="what came was dropped"):
            ingest.commit()
    assert leftovers(store) == []
    with store.ingest(DIGEST, len(DATA)) as ingest:
        assert ingest.offset == 0


def test_more_than_was_announced_is_refused(store: Store) -> None:
    with store.ingest(DIGEST, len(DATA)) as ingest:
        ingest.write(DATA[:-1])
        with pytest.raises(StoreError, match="more came"):
            ingest.write(b"ab")
        ingest.write(DATA[-1:])
        ingest.commit()
    store.verify(BLOB)


def test_a_leftover_that_is_too_long_is_forgotten(store: Store) -> None:
    (store.root / "ingest" / DIGEST.removeprefix("sha256:")).write_bytes(DATA + b"x")
    with store.ingest(DIGEST, len(DATA)) as ingest:
        assert ingest.offset == 0


def test_a_leftover_of_zeros_after_a_power_cut_is_found_out(store: Store) -> None:
    (store.root / "ingest" / DIGEST.removeprefix("sha256:")).write_bytes(bytes(1000))
    with store.ingest(DIGEST, len(DATA)) as ingest:
        ingest.write(DATA[ingest.offset :])
        with pytest.raises(StoreError):
            ingest.commit()
    assert leftovers(store) == []


def test_what_is_in_the_file_is_what_was_counted(store: Store) -> None:
    """Somebody else appends to the part: the digest of what we wrote is right, the file is not."""
    with store.ingest(DIGEST, len(DATA)) as ingest:
        ingest.write(DATA)
        with (store.root / "ingest" / DIGEST.removeprefix("sha256:")).open("ab") as part:
            part.write(b"x")
        with pytest.raises(StoreError):
            ingest.commit()
    assert not store.has(DIGEST)


def test_a_blob_is_read_only_from_the_moment_it_is_there(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA + b"2")
    with store.ingest(DIGEST, len(DATA)) as ingest:
        ingest.write(DATA)
        ingest.commit()
    for digest in (DIGEST, store.put(b"abc", "t").digest, store.put_file(tmp_path / "file", "t").digest):
        assert stat.S_IMODE(store.path(digest).stat().st_mode) == 0o444


def test_two_ingests_of_one_blob_do_not_mix(store: Store) -> None:
    with store.ingest(DIGEST, len(DATA)) as ingest:
        ingest.write(DATA[:10])
        with pytest.raises(StoreError, match="being written by another program"):
            store.ingest(DIGEST, len(DATA))
    with store.ingest(DIGEST, len(DATA)) as ingest:
        assert ingest.offset == 10


def test_copies_of_one_file_at_the_same_time_wait_for_each_other(store: Store, tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    (tmp_path / "file").write_bytes(data)
    failures: list[BaseException] = []

    def copy() -> None:
        try:
            store.put_file(tmp_path / "file", "t")
        except BaseException as error:  # noqa: BLE001 - reported below
            failures.append(error)

    threads = [threading.Thread(target=copy) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert store.path(digest_of(data)).read_bytes() == data
    assert list((store.root / "ingest").iterdir()) == []


def test_a_commit_that_was_killed_just_before_publishing_goes_on_without_being_root(tmp_path: Path) -> None:
    """The part is read-only then, and only root may open such a file to write."""
    script = """
        import os, sys
        from pathlib import Path
        from neo.contract.oci import digest_of
        from neo.store import Store
        root = Path(sys.argv[1])
        if os.geteuid() == 0:
            os.chown(root, 65534, 65534)
            os.setegid(65534)
            os.seteuid(65534)
        store = Store(root / "store")
        data = b"abc" * 100
        part = root / "store" / "ingest" / digest_of(data).removeprefix("sha256:")
        part.write_bytes(data)
        part.chmod(0o444)
        with store.ingest(digest_of(data), len(data)) as ingest:
            assert ingest.offset == len(data)
            ingest.commit()
        assert store.has(digest_of(data))
    """
    # not tmp_path: pytest's folders are closed to other users
    with tempfile.TemporaryDirectory() as folder:
        done = run_python(script, folder)
    assert done.returncode == 0, done.stderr


def test_a_full_disk_is_said_and_nothing_of_the_piece_is_kept(tmp_path: Path) -> None:
    """A file size limit stands for the full disk: both let the first half of a write through."""
    script = """
        import resource, signal, sys
        from pathlib import Path
        from neo.contract.oci import Descriptor, digest_of
        from neo.errors import DiskFull
        from neo.store import Store
        store = Store(Path(sys.argv[1]))
        kept = store.put(b"kept", "t")
        store.add_to_index(kept)
        before = (store.root / "index.json").read_bytes()
        data = bytes(range(256)) * 100
        digest = digest_of(data)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        ingest = store.ingest(digest, len(data))
        ingest.write(data[:1000])
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
        for write in (
            lambda: ingest.write(data[1000:]),
            lambda: store.put(data + b"2", "t"),
            lambda: store.put_file(Path(sys.argv[2]), "t"),
        ):
            try:
                write()
            except DiskFull as error:
                assert "free some space" in error.hint
            else:
                raise SystemExit("nobody noticed")
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        try:
            store.add_to_index(Descriptor("t", digest, len(data), {"a": "b" * 1000}))
        except DiskFull:
            pass
        else:
            raise SystemExit("nobody noticed")
        assert (store.root / "index.json").read_bytes() == before
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert ingest.offset == 1000
        ingest.write(data[1000:])
        ingest.commit()
        ingest.close()
        assert store.read(Descriptor("t", digest, len(data))) == data
        assert store.read(kept) == b"kept"
        names = [path.name for path in store.root.rglob(".*") if path.name != ".lock"]
        assert names == [], names
    """
    (tmp_path / "file").write_bytes(os.urandom(20_000))
    done = run_python(script, str(tmp_path / "store"), str(tmp_path / "file"))
    assert done.returncode == 0, done.stderr


def test_a_really_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], check=False)  # noqa: S607
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        store = Store(disk / "store")
        entry = store.put(b"small", "t")
        store.add_to_index(entry)
        (tmp_path / "large").write_bytes(os.urandom(1 << 20))
        with pytest.raises(DiskFull):
            store.put_file(tmp_path / "large", "t")
        (disk / "filler").write_bytes(bytes(disk_free(disk)))
        with pytest.raises(DiskFull):
            store.add_to_index(Descriptor("t", DIGEST, 1, {"a": "b" * 20_000}))
        assert store.index().manifests == (entry,)
        assert store.read(entry) == b"small"
    finally:
        subprocess.run(["umount", str(disk)], check=True)  # noqa: S607


def disk_free(path: Path) -> int:
    fields = os.statvfs(path)
    return fields.f_bavail * fields.f_frsize


@pytest.mark.parametrize("moment", [0, 1, 2, 3, 4, 5, 6, 8, 10])
def test_a_killed_ingest_is_whole_or_goes_on(tmp_path: Path, moment: int) -> None:
    """SIGKILL between any two steps of the writer."""
    script = """
        import sys
        from pathlib import Path
        from neo.contract.oci import digest_of
        from neo.store import Store
        store = Store(Path(sys.argv[1]))
        data = bytes(range(256)) * 4000
        print("begun", flush=True)
        with store.ingest(digest_of(data), len(data)) as ingest:
            for start in range(ingest.offset, len(data), 10_000):
                ingest.write(data[start : start + 10_000])
                print(ingest.offset, flush=True)
            ingest.commit()
        print("done", flush=True)
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "store")], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    for _ in range(1 + 10 * moment):
        child.stdout.readline()
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    store = Store(tmp_path / "store")
    data = bytes(range(256)) * 4000
    if not store.has(digest_of(data)):
        with store.ingest(digest_of(data), len(data)) as ingest:
            assert ingest.offset >= min(100_000 * moment - 90_000, len(data)) if moment else True
            ingest.write(data[ingest.offset :])
            ingest.commit()
    assert store.read(Descriptor("t", digest_of(data), len(data))) == data


def run_python(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

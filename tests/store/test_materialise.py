"""A bundle's files, laid out in a folder: as links or copies, durable, and nowhere else."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from neo.contract.fields import ContractError
from neo.contract.oci import TITLE, Descriptor, ImageManifest
from neo.errors import StoreError
from neo.store import Store
from neo.store.bundles import unpack_bundle
from tests.store.bundles import FILES, add_bundle


def titled(store: Store, title: str, data: bytes = b"x") -> Descriptor:
    return store.put(data, "t").titled(title)


def image_of(store: Store, *titles: str) -> ImageManifest:
    return ImageManifest("t", store.put_empty(), tuple(titled(store, title) for title in titles))


def test_files_are_laid_out_as_hard_links(store: Store, tmp_path: Path) -> None:
    bundle = add_bundle(store, tmp_path / "files")
    unpack_bundle(store, bundle, tmp_path / "out")
    for title, data in FILES.items():
        assert (tmp_path / "out" / title).read_bytes() == data
    blob = store.path(bundle.image.layers[0].digest)
    assert blob.samefile(tmp_path / "out" / bundle.image.layers[0].title)
    assert (tmp_path / "out" / "manifest.json").read_bytes() == bundle.manifest.to_bytes()
    unpack_bundle(store, bundle, tmp_path / "out")  # over itself


@pytest.mark.parametrize("error", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_files_are_copied_where_links_are_not_possible(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def no_link(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    bundle = add_bundle(store, tmp_path / "files")
    monkeypatch.setattr(os, "link", no_link)
    for _ in range(2):  # into an empty folder, and over what is there
        unpack_bundle(store, bundle, tmp_path / "out")
    for title, data in FILES.items():
        file = tmp_path / "out" / title
        assert file.read_bytes() == data
        assert file.stat().st_nlink == 1
        assert file.stat().st_mode & 0o777 == 0o444


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there is no second file system")  # noqa: S108
def test_files_are_copied_to_another_file_system(store: Store, tmp_path: Path) -> None:
    bundle = add_bundle(store, tmp_path / "files")
    folder = Path("/dev/shm") / f"neo-test-{os.getpid()}"  # noqa: S108
    try:
        unpack_bundle(store, bundle, folder)
        assert (folder / "golden.npz").read_bytes() == FILES["golden.npz"]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("title", ["../out", "/etc/passwd", "", ".", "a/../../b", "a\\b"])
def test_a_title_that_leads_out_of_the_folder_writes_nothing(store: Store, tmp_path: Path, title: str) -> None:
    with pytest.raises(ContractError):
        store.materialise(image_of(store, "good", title), tmp_path / "deep" / "folder")
    assert not (tmp_path / "deep").exists()


def test_every_folder_on_the_way_is_synced(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = set()
    fsync = os.fsync

    def logged(fd: int) -> None:
        synced.add(str(Path(f"/proc/self/fd/{fd}").readlink()))
        fsync(fd)

    image = image_of(store, "a/b/c/file")
    monkeypatch.setattr(os, "fsync", logged)
    store.materialise(image, tmp_path / "out")
    assert {str(tmp_path / place) for place in ("", "out", "out/a", "out/a/b", "out/a/b/c")} <= synced


def test_a_missing_layer_is_an_error(store: Store, tmp_path: Path) -> None:
    image = image_of(store, "a")
    store.path(image.layers[0].digest).unlink()
    with pytest.raises(StoreError, match="is not in the store"):
        store.materialise(image, tmp_path / "out")


def test_a_title_is_an_annotation(store: Store) -> None:
    layer = titled(store, "engine/model.so")
    assert (layer.title, layer.annotations) == ("engine/model.so", {TITLE: "engine/model.so"})

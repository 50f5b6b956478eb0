"""Where measured configurations are kept: what is read back, what wins, and what is left out."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from neo.contract.fields import ContractError
from neo.contract.versions import NewerFormat
from neo.engines.tvm.cpu.tuning.cache import (
    Cache,
    Document,
    Key,
    Measured,
    cache_at,
    documents_to_bytes,
    read_documents,
)
from neo.engines.tvm.cpu.units.configuration import VERSIONS, Configuration
from neo.engines.tvm.cpu.units.tiles import Tile
from neo.errors import StoreError
from neo.targets import list_targets, load_target

TARGET = load_target("x86-64-v3")
KEY = Key.of(TARGET)
CURRENT = ("reduction", VERSIONS["reduction"])


def measured(rows: int = 4, gain: float = 1.25) -> Measured:
    return Measured(
        Configuration(Tile(rows, 2, 8), columns_first=True), gain, 17.5, 2, "float32[4,16] float32[4,16]", *CURRENT
    )


def cache_in(folder: Path) -> Cache:
    (folder / "shipped").mkdir()
    return Cache(folder / "own", folder / "shipped")


def test_what_is_added_is_known_for_that_target(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    cache.add(Document(KEY, {"a": measured()}))
    cache.add(Document(KEY, {"b": measured(rows=5)}))
    assert cache.known(TARGET).kernels == {"a": measured(), "b": measured(rows=5)}
    assert cache.known(TARGET).notes == ()
    assert cache.known(load_target("x86-64-v4")).kernels == {}


def test_a_document_comes_back_from_its_json() -> None:
    document = Document(KEY, {"a": measured()})
    assert Document.from_json(json.loads(json.dumps(document.to_json()))) == document


@pytest.mark.parametrize("change", [{"cores": 64}, {"l2_kib": 1}, {"attrs": ("+avx",)}, {"mcpu": "haswell"}])
def test_another_processor_has_another_key(change: dict[str, object]) -> None:
    assert Key.of(replace(TARGET, cpu=replace(TARGET.cpu, **change))).digest != KEY.digest


def test_a_target_of_another_name_has_the_same_key() -> None:
    assert Key.of(replace(TARGET, name="mine", description="my board", glibc="2.36")).digest == KEY.digest


@pytest.mark.parametrize(("family", "version"), [("reduction", VERSIONS["reduction"] - 1), ("unknown", 7), ("", 0)])
def test_a_kernel_that_its_family_schedules_otherwise_now_is_not_used(
    tmp_path: Path, family: str, version: int
) -> None:
    cache = cache_in(tmp_path)
    old = replace(measured(), family=family, version=version)
    cache.add(Document(KEY, {"a": old, "b": measured()}))
    assert cache.known(TARGET).kernels == {"b": measured()}
    assert [document.kernels["a"] for document in cache.documents()] == [old]


def test_what_format_1_says_is_read_and_not_used(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    cache.add(Document(KEY, {"a": measured()}))
    (path,) = cache.own.glob("*.json")
    data = json.loads(path.read_bytes())
    (document,) = data["documents"]
    for kernel in document["kernels"].values():
        del kernel["family"], kernel["version"]
    path.write_text(json.dumps({"format": 1, "documents": [{**document, "schedules": 6}]}))
    assert cache.known(TARGET).notes == ()
    assert cache.known(TARGET).kernels == {}
    assert [document.is_current for document in cache.documents()] == [False]


def test_what_another_version_of_tvm_measured_is_not_used(tmp_path: Path) -> None:
    cache, old = cache_in(tmp_path), replace(KEY, tvm="0.1")
    cache.add(Document(old, {"a": measured()}))
    assert cache.known(TARGET).kernels == {}
    assert not old.is_current
    assert [document.key for document in cache.documents()] == [old]


def test_what_comes_with_the_package_loses_to_the_users_own(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    shipped = Document(KEY, {"a": measured(rows=1), "b": measured(rows=2)})
    other = Document(Key.of(load_target("x86-64-v4")), {"c": measured()})
    (tmp_path / "shipped" / "common.json").write_bytes(documents_to_bytes([other, shipped]))
    cache.add(Document(KEY, {"a": measured(rows=3)}))
    assert cache.known(TARGET).kernels == {"a": measured(rows=3), "b": measured(rows=2)}
    assert cache.known(TARGET).own == {"a"}


def test_what_is_shipped_is_for_a_target_and_this_version_and_gained_much(tmp_path: Path) -> None:
    targets = {Key.of(target).digest for target in list_targets()}
    shipped = cache_at(tmp_path).shipped_documents()
    assert shipped
    for document in shipped:
        # else: python -m benchmarks.tune --target ... --out neo/data/tuning/..., or remove the file
        assert document.key.is_current
        assert all(kernel.is_current for kernel in document.kernels.values())
        assert document.key.digest in targets
        assert min(kernel.gain for kernel in document.kernels.values()) >= 1.05


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b'{"format": 0, "documents": []}',
        b'{"format": 1, "documents": [{"machine": {}, "tvm": "1", "schedules": 1, "kernels": {"a": {}}}]}',
        documents_to_bytes([Document(KEY, {"a": measured()})]).replace(b'"rows":4', b'"rows":0'),
        documents_to_bytes([Document(KEY, {"a": measured()})]).replace(b'"rows":4', b'"rows":-1'),
        documents_to_bytes([Document(KEY, {"a": measured()})])[:-20],
    ],
)
def test_a_damaged_file_is_left_out_with_a_note_and_replaced(tmp_path: Path, data: bytes) -> None:
    cache = cache_in(tmp_path)
    cache.add(Document(KEY, {"a": measured()}))
    (path,) = cache.own.glob("*.json")
    path.write_bytes(data)
    known = cache.known(TARGET)
    assert known.kernels == {}
    assert [str(path) in note for note in known.notes] == [True]
    with pytest.raises(ContractError, match=path.name) as caught:
        cache.documents()
    assert "remove it" in caught.value.hint
    cache.add(Document(KEY, {"b": measured()}))
    assert cache.known(TARGET).kernels == {"b": measured()}


def test_what_a_newer_version_measured_is_not_used_and_not_overwritten(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    cache.add(Document(KEY, {"a": measured()}))
    (path,) = cache.own.glob("*.json")
    newer = b'{"format": 3, "documents": []}'
    path.write_bytes(newer)
    known = cache.known(TARGET)
    assert known.kernels == {}
    assert ["newer neo-edge" in note for note in known.notes] == [True]
    with pytest.raises(NewerFormat):
        cache.add(Document(KEY, {"b": measured()}))
    assert path.read_bytes() == newer


def test_two_that_add_at_a_time_lose_nothing(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)

    def add(prefix: str) -> None:
        for index in range(25):
            cache.add(Document(KEY, {f"{prefix}{index}": measured()}))

    threads = [threading.Thread(target=add, args=(prefix,)) for prefix in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(cache.known(TARGET).kernels) == 50


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="file"):
        Cache(tmp_path / "file" / "own", tmp_path).add(Document(KEY, {}))


def test_a_file_that_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot read"):
        read_documents(tmp_path / "absent.json")

"""The order of trust: what is asked for, and what is not."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from edge_agent.install.fetch import DISK_RESERVE_BYTES, Fetch, FetchRules, parse_chunk
from neo.contract.chunks import CHUNK_BYTES
from neo.contract.messages import Assignment, Chunk
from neo.errors import DiskFull, NeoError, TargetError, TrustError
from neo.store import Store
from neo.store.bundles import Bundle
from neo.trust import KeyAuthority
from tests.edge_agent.devices import capabilities, make_assignment, make_bundle, sign_bundle
from tests.edge_agent.sending import answer


class Case:
    """A signed bundle at the operator, and an empty device. ``run`` -> digests asked for, in order."""

    def __init__(self, folder: Path, signer: CryptoSigner, *, ballast: bytes = b"", tables: bool = True) -> None:
        self.source = Store(folder / "source")
        self.device = Store(folder / "device")
        self.bundle: Bundle = make_bundle(self.source, folder, "1", ballast=ballast, tables=tables)
        self.has_tables = tables
        self.envelope = sign_bundle(self.source, self.bundle, signer)
        self.assignment: Assignment = make_assignment(self.bundle, self.envelope, "src")
        self.rules = FetchRules(KeyAuthority([signer.public_key]), capabilities, lambda _: 1 << 40)
        self.asked: list[str] = []
        self.asked_bytes = 0
        self.fetch: Fetch | None = None

    def read(self, digest: str) -> bytes:
        return self.source.path(digest).read_bytes()

    def run(self) -> Fetch:
        fetch = self.fetch = Fetch(self.assignment, self.device, self.rules, 0.0)
        while asks := fetch.wants(0.0):
            for chunk in answer(asks, self.read):
                if not self.asked or self.asked[-1] != chunk.digest:
                    self.asked.append(chunk.digest)
                self.asked_bytes += len(chunk.data)
                fetch.take(chunk, 0.0)
            if fetch.result is not None:
                break
        return fetch


@pytest.fixture
def case(tmp_path: Path, signer: CryptoSigner) -> Iterator[Case]:
    case = Case(tmp_path, signer)
    yield case
    if case.fetch is not None:
        case.fetch.close()


def test_signature_then_manifest_then_config_then_files(case: Case) -> None:
    fetch = case.run()
    image = case.bundle.image
    assert case.asked[:3] == [case.envelope.digest, case.bundle.descriptor.digest, image.config.digest]
    assert sorted(case.asked[3:]) == sorted(layer.digest for layer in image.layers)
    assert fetch.result is not None
    assert fetch.result[0] == case.bundle
    done, total = fetch.progress
    assert done == total == sum(layer.size for layer in image.layers)


def test_what_the_device_has_already_is_not_asked_for(case: Case) -> None:
    case.run()
    case.asked.clear()
    assert case.run().result is not None
    assert case.asked == []


def test_nothing_but_the_signature_is_fetched_when_nobody_trusted_signed(case: Case) -> None:
    case.rules = replace(case.rules, authority=KeyAuthority([CryptoSigner.generate_ed25519().public_key]))
    with pytest.raises(TrustError):
        case.run()
    assert case.asked == [case.envelope.digest]


def test_no_file_is_fetched_for_a_device_that_cannot_run_it(case: Case) -> None:
    case.rules = replace(case.rules, capabilities=lambda: capabilities(engines={"tvm": "1"}))
    with pytest.raises(TargetError, match="no onnxruntime engine"):
        case.run()
    assert len(case.asked) == 3


def test_no_file_is_fetched_when_there_is_no_room_and_the_numbers_are_said(case: Case) -> None:
    case.rules = replace(case.rules, make_room=lambda _: DISK_RESERVE_BYTES)
    with pytest.raises(DiskFull, match=r"needs 16\.8 MB, 16\.8 MB are free") as full:
        case.run()
    assert full.value.details["needed_bytes"] > full.value.details["free_bytes"] == DISK_RESERVE_BYTES
    assert len(case.asked) == 3


def test_room_is_made_for_the_bundle_before_its_files_come(case: Case) -> None:
    kept: list[str] = []

    def make_room(digest: str) -> int:
        kept.append(digest)
        return shutil.disk_usage(case.device.root).free

    case.rules = replace(case.rules, make_room=make_room)
    case.run()
    assert kept == [case.bundle.descriptor.digest]


@pytest.mark.parametrize("field", ["manifest", "signature"])
def test_documents_of_absurd_size_are_not_asked_for(case: Case, field: str) -> None:
    descriptor = getattr(case.assignment, field)
    case.assignment = replace(case.assignment, **{field: replace(descriptor, size=1 << 50)})
    with pytest.raises(NeoError):
        case.run()
    assert case.asked in ([], [case.envelope.digest])


def test_what_is_no_chunk_is_none() -> None:
    assert parse_chunk(b"") is None
    assert parse_chunk(b"NEO1" + b"\xff" * 50) is None


def test_a_statement_that_nobody_trusted_signed_is_not_kept(case: Case) -> None:
    """Else anybody who can send messages could fill the disk with them."""
    case.rules = replace(case.rules, authority=KeyAuthority([CryptoSigner.generate_ed25519().public_key]))
    with pytest.raises(TrustError):
        case.run()
    assert not case.device.has(case.envelope.digest)


def test_a_file_of_a_trusted_bundle_that_is_passed_off_as_a_signature_is_kept(case: Case) -> None:
    case.run()
    config = case.bundle.image.config
    case.assignment = replace(case.assignment, signature=config)
    with pytest.raises(TrustError):
        case.run()
    assert case.device.has(config.digest)


def test_half_a_blob_that_nobody_trusted_vouches_for_is_not_kept(case: Case) -> None:
    fetch = case.fetch = Fetch(case.assignment, case.device, case.rules, 0.0)
    (chunk,) = answer(fetch.wants(0.0), case.read)
    fetch.take(replace(chunk, data=chunk.data[:10]), 0.0)
    fetch.close()
    assert parts_of(case) == []


def parts_of(case: Case) -> list[int]:
    return [path.stat().st_size for path in (case.device.root / "ingest").iterdir()]


@pytest.fixture(params=[True, False], ids=["with tables", "without tables"])
def large(request: pytest.FixtureRequest, tmp_path: Path, signer: CryptoSigner) -> Iterator[Case]:
    """A bundle with a file of four chunks."""
    large = Case(tmp_path, signer, ballast=random.Random(5).randbytes(4 * CHUNK_BYTES), tables=request.param)
    yield large
    if large.fetch is not None:
        large.fetch.close()


def fetch_until_half_of_the_ballast(large: Case) -> Fetch:
    fetch = Fetch(large.assignment, large.device, large.rules, 0.0)
    while (asks := fetch.wants(0.0)) and not fetch.progress[1]:
        for chunk in answer(asks, large.read):
            fetch.take(chunk, 0.0)
    for chunk in answer(asks, large.read):
        if chunk.offset < 2 * CHUNK_BYTES:
            fetch.take(chunk, 0.0)
    return fetch


def test_half_a_blob_of_a_trusted_bundle_is_not_fetched_again(large: Case) -> None:
    fetch_until_half_of_the_ballast(large).close()
    assert parts_of(large) == [2 * CHUNK_BYTES]
    fetch = large.run()
    assert fetch.result is not None
    assert fetch.progress[0] == fetch.progress[1]
    assert large.asked_bytes == 2 * CHUNK_BYTES


def test_a_forged_chunk_costs_one_chunk(large: Case) -> None:
    fetch = large.fetch = fetch_until_half_of_the_ballast(large)
    ballast = max(large.bundle.image.layers, key=lambda layer: layer.size)
    fetch.take(Chunk(ballast.digest, 3 * CHUNK_BYTES, bytes(CHUNK_BYTES)), 0.0)
    data = large.read(ballast.digest)
    for index in (2, 3):
        fetch.take(Chunk(ballast.digest, index * CHUNK_BYTES, data[index * CHUNK_BYTES :][:CHUNK_BYTES]), 0.0)
    fetch.wants(0.0)
    if large.has_tables:
        assert fetch.result is not None
    else:  # as before there were tables
        assert fetch.result is None
        assert sum(len(chunk.data) for chunk in answer(fetch.wants(9.0), large.read)) == len(data)


def test_the_tables_come_before_the_files(large: Case) -> None:
    fetch = large.run()
    tables = [chunks.table for chunks in large.bundle.manifest.chunks]
    assert len(tables) == large.has_tables
    assert large.asked[3 : 3 + len(tables)] == tables
    assert fetch.result is not None

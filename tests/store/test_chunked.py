"""A blob on its way in, in chunks of any order: what was checked stays, all else does not count."""

from __future__ import annotations

import io
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neo.contract.chunks import CHUNK_BYTES, chunk_span, read_table, write_table
from neo.contract.oci import OCTETS_TYPE, Descriptor
from neo.errors import StoreError
from neo.store import Store

DATA = random.Random(1).randbytes(5 * CHUNK_BYTES + 17)
BLOB = Descriptor.of(DATA, OCTETS_TYPE)
TABLE = read_table(write_table(io.BytesIO(DATA)), len(DATA))
COUNT = len(TABLE)


def chunk(index: int) -> bytes:
    offset, length = chunk_span(index, len(DATA))
    return DATA[offset : offset + length]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.permutations(range(COUNT)),
    closed_after=st.sets(st.integers(0, COUNT - 1)),
    torn=st.sets(st.integers(0, COUNT - 1), max_size=2),
)
def test_what_is_missing_is_known_after_kills_and_torn_writes(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], closed_after: set[int], torn: set[int]
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    written: set[int] = set()
    ingest = store.ingest_chunks(BLOB.digest, BLOB.size, TABLE)
    for step, index in enumerate(order):
        assert ingest.write(index, chunk(index))
        written.add(index)
        if step in closed_after:
            ingest.close()
            (part,) = (store.root / "ingest").iterdir()
            with part.open("r+b") as file:
                for lost in torn & written:  # what a power cut does to pages that were not written
                    file.seek(lost * CHUNK_BYTES)
                    file.write(bytes(10))
            written -= torn
            ingest = store.ingest_chunks(BLOB.digest, BLOB.size, TABLE)
            assert ingest.missing == set(range(COUNT)) - written
    for index in sorted(ingest.missing):
        assert ingest.write(index, chunk(index))
    with ingest:
        ingest.commit()
    assert store.read(BLOB) == DATA


def test_a_wrong_chunk_is_not_written(store: Store) -> None:
    with store.ingest_chunks(BLOB.digest, BLOB.size, TABLE) as ingest:
        assert not ingest.write(0, chunk(1))
        assert not ingest.write(COUNT - 1, chunk(COUNT - 1)[:-1])
        assert ingest.missing == set(range(COUNT))
        assert ingest.missing_bytes == len(DATA)
    assert (store.root / "ingest" / BLOB.digest.removeprefix("sha256:")).stat().st_size == 0


@pytest.mark.parametrize("left_out", [[], [2]])
def test_chunks_that_are_not_the_blob_are_dropped(store: Store, left_out: list[int]) -> None:
    other = Descriptor.of(b"another", OCTETS_TYPE).digest if not left_out else BLOB.digest
    with store.ingest_chunks(other, BLOB.size, TABLE) as ingest:
        for index in set(range(COUNT)) - set(left_out):
            ingest.write(index, chunk(index))
        with pytest.raises(StoreError, match="what came was dropped"):
            ingest.commit()
    assert list((store.root / "ingest").iterdir()) == []
    assert not store.has(other)


def test_a_file_that_was_begun_otherwise_is_gone_on_from(store: Store) -> None:
    with store.ingest(BLOB.digest, BLOB.size) as plain:
        plain.write(DATA[: 2 * CHUNK_BYTES + 5])
    with store.ingest_chunks(BLOB.digest, BLOB.size, TABLE) as ingest:
        assert ingest.missing == {2, 3, 4, 5}


def test_one_program_at_a_time_writes_a_blob(store: Store) -> None:
    with (
        store.ingest_chunks(BLOB.digest, BLOB.size, TABLE),
        pytest.raises(StoreError, match="being written by another program"),
    ):
        store.ingest_chunks(BLOB.digest, BLOB.size, TABLE)


def test_a_blob_of_nothing_is_whole_from_the_start(store: Store) -> None:
    empty = Descriptor.of(b"", OCTETS_TYPE)
    with store.ingest_chunks(empty.digest, 0, ()) as ingest:
        assert not ingest.missing
        ingest.commit()
    assert store.read(empty) == b""

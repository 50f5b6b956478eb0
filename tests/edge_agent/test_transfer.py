from __future__ import annotations

import io
import itertools
import random
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol
from unittest.mock import ANY

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.install.asking import Ask, TransferLimits, Wire, runs_of
from edge_agent.install.table import is_worth_retrying
from edge_agent.install.transfer import Transfer, missing_blobs
from neo.contract.chunks import CHUNK_BYTES, read_table, write_table
from neo.contract.messages import Chunk, Missing, NumberedChunk, Want
from neo.contract.oci import OCTETS_TYPE, Descriptor, digest_of
from neo.errors import TransferError
from neo.store import Store
from tests.edge_agent.sending import AnyChunk, answer

WINDOW = 4 * CHUNK_BYTES
LIMITS = TransferLimits(window_bytes=WINDOW, open_blobs=3, ask_again_s=1, ask_again_cap_s=4, give_up_s=20)


def serve(blobs: dict[str, bytes], asks: Sequence[Ask]) -> list[AnyChunk]:
    return answer(asks, blobs.__getitem__)


def bytes_of(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def tables_of(datas: list[bytes]) -> dict[str, tuple[bytes, ...]]:
    return {digest_of(data): read_table(write_table(io.BytesIO(data)), len(data)) for data in datas}


def describe(datas: list[bytes]) -> tuple[list[Descriptor], dict[str, bytes]]:
    descriptors = [Descriptor.of(data, OCTETS_TYPE) for data in datas]
    return descriptors, {d.digest: data for d, data in zip(descriptors, datas, strict=True)}


def finish(transfer: Transfer, blobs: dict[str, bytes], now: float) -> None:
    """A network without faults, from now on; it has to end."""
    for _ in range(200):
        for chunk in serve(blobs, transfer.wants(now)):
            transfer.take(chunk, now)
        if transfer.done:
            return
        now += 1
    raise AssertionError("the transfer does not end")


sizes = st.one_of(st.integers(0, 3), st.integers(0, 6 * CHUNK_BYTES), st.sampled_from([CHUNK_BYTES, 2 * CHUNK_BYTES]))


@settings(max_examples=80, deadline=None)
@given(
    lengths=st.lists(sizes, min_size=1, max_size=4),
    has_tables=st.booleans(),
    version=st.sampled_from([1, 2]),
    seed=st.integers(0, 2**32),
    steps=st.integers(0, 100),
)
def test_loss_repetition_disorder_forgery_and_kills_at_any_byte_end_with_the_sources_bytes(
    lengths: list[int], has_tables: bool, version: int, seed: int, steps: int
) -> None:
    chance = random.Random(seed)
    datas = [bytes_of(number, length) for number, length in enumerate(lengths)]
    descriptors, blobs = describe(datas)
    tables = tables_of(datas) if has_tables else {}
    # what nothing vouches for chunk by chunk is forged as a whole
    actions = ["deliver"] * 6 + ["lose", "repeat", "mix", "wait", "kill"] + (["forge"] if has_tables else [])
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        now = 0.0
        transfer = Transfer("d", descriptors, store, now, LIMITS, tables=tables, wire=Wire(version))
        air: deque[AnyChunk] = deque()
        for _ in range(steps):
            air.extend(serve(blobs, transfer.wants(now)))
            what = chance.choice(actions)
            if what == "wait":
                now += 0.7
            elif what == "kill":
                transfer.close()
                for part in (Path(folder) / "ingest").iterdir():
                    with part.open("r+b") as file:
                        file.truncate(chance.randint(0, part.stat().st_size))
                transfer = Transfer("d", descriptors, store, now, LIMITS, tables=tables, wire=Wire(version))
            elif air:
                if what == "mix":
                    chance.shuffle(air)
                chunk = air.popleft()
                if what == "forge":
                    transfer.take(replace(chunk, data=bytes(len(chunk.data))), now)
                if what != "lose":
                    transfer.take(chunk, now)
                if what == "repeat":
                    air.append(chunk)
            assert transfer.buffered_bytes <= LIMITS.open_blobs * WINDOW
        finish(transfer, blobs, now + 1)
        assert transfer.done_bytes == transfer.total_bytes
        assert all(store.read(descriptor) == blobs[descriptor.digest] for descriptor in descriptors)


@given(st.sets(st.integers(0, 60)))
def test_runs_cover_exactly_the_chunks_and_are_joined(indices: set[int]) -> None:
    runs = runs_of(sorted(indices))
    assert {index for first, count in runs for index in range(first, first + count)} == indices
    assert all(sum(one) < other[0] for one, other in itertools.pairwise(runs))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


class Start(Protocol):
    def __call__(self, datas: list[bytes], store: Store, *, tables: bool = True, version: int = 1) -> Transfer: ...


@pytest.fixture
def start() -> Iterator[Start]:
    """A new transfer at time 0; its files are closed at the end."""
    started: list[Transfer] = []

    def begin(datas: list[bytes], store: Store, *, tables: bool = True, version: int = 1) -> Transfer:
        descriptors, _ = describe(datas)
        started.append(
            Transfer("d", descriptors, store, 0, LIMITS, tables=tables_of(datas) if tables else {}, wire=Wire(version))
        )
        return started[-1]

    yield begin
    for transfer in started:
        transfer.close()


TEN = bytes_of(10, 10 * CHUNK_BYTES - 7)
NINE = bytes_of(9, 9 * CHUNK_BYTES)


@pytest.mark.parametrize("tables", [True, False])
def test_no_more_than_the_window_is_ever_asked_for_and_not_answered(start: Start, store: Store, tables: bool) -> None:
    transfer = start([TEN, NINE], store, tables=tables)
    assert sum(want.length for want in transfer.wants(0)) == WINDOW
    assert transfer.wants(0.5) == []


@pytest.mark.parametrize("tables", [True, False])
def test_chunks_off_the_grid_or_of_other_blobs_take_no_memory_and_no_disk(
    start: Start, store: Store, tables: bool
) -> None:
    transfer = start([TEN], store, tables=tables)
    transfer.wants(0)
    for offset in range(1, 900):
        transfer.take(Chunk(digest_of(TEN), offset, bytes(50)), 0)
    transfer.take(Chunk(digest_of(TEN), 9 * CHUNK_BYTES, bytes(CHUNK_BYTES)), 0)
    transfer.take(Chunk(digest_of(TEN), 1 << 60, bytes(50)), 0)
    transfer.take(Chunk("sha256:" + "0" * 64, 0, bytes(50)), 0)
    assert transfer.buffered_bytes == transfer.done_bytes == 0


def test_early_chunks_of_a_blob_without_a_table_are_kept_in_memory_within_the_window(
    start: Start, store: Store
) -> None:
    transfer = start([TEN], store, tables=False)
    transfer.wants(0)
    for index in range(1, 9):
        offset = index * CHUNK_BYTES
        transfer.take(Chunk(digest_of(TEN), offset, TEN[offset : offset + CHUNK_BYTES]), 0)
    assert transfer.buffered_bytes == 3 * CHUNK_BYTES
    assert transfer.done_bytes == 0


def test_chunks_of_a_blob_with_a_table_are_kept_in_any_order_also_over_a_restart(start: Start, store: Store) -> None:
    first = start([TEN], store)
    chunks = serve({digest_of(TEN): TEN}, first.wants(0))
    first.take(chunks[3], 0)
    first.take(chunks[1], 0)
    assert (first.done_bytes, first.buffered_bytes) == (2 * CHUNK_BYTES, 0)
    first.close()
    again = start([TEN], store)
    assert spans_asked(again.wants(0)) == [(0, 1), (2, 1), (4, 2)]


def spans_asked(wants: list[Ask]) -> list[tuple[int, int]]:
    """(first chunk, chunks)"""
    return [(want.offset // CHUNK_BYTES, -(-want.length // CHUNK_BYTES)) for want in wants if isinstance(want, Want)]


def test_only_what_is_missing_is_asked_for_after_a_restart_without_a_table(start: Start, store: Store) -> None:
    first = start([TEN], store, tables=False)
    for chunk in serve({digest_of(TEN): TEN}, first.wants(0))[:3]:
        first.take(chunk, 0)
    first.close()
    assert start([TEN], store, tables=False).wants(0) == [Want("d", digest_of(TEN), 3 * CHUNK_BYTES, WINDOW)]


@pytest.mark.parametrize(("version", "kind"), [(1, Want), (2, Missing)])
def test_unanswered_asks_are_repeated_less_and_less_often_until_it_gives_up(
    start: Start, store: Store, version: int, kind: type
) -> None:
    transfer = start([bytes(100)], store, version=version)
    tenths = range(201)
    asked_at = [tenth / 10 for tenth in tenths if any(isinstance(ask, kind) for ask in transfer.wants(tenth / 10))]
    assert asked_at == [0, 1, 3, 7, 11, 15, 19]
    with pytest.raises(TransferError, match="nothing useful for 20 s"):
        transfer.wants(20.1)


def test_a_source_of_the_version_before_is_asked_in_its_way_when_it_does_not_answer(start: Start, store: Store) -> None:
    transfer, blobs = start([TEN], store, version=0), {digest_of(TEN): TEN}
    now = 0.0
    while not (wants := [ask for ask in transfer.wants(now) if isinstance(ask, Want)]):
        now += 0.1
        assert now < 3
    for _ in range(10):
        for chunk in serve(blobs, wants):
            transfer.take(chunk, now)
        asks = transfer.wants(now)
        wants = [ask for ask in asks if isinstance(ask, Want)]
        assert wants == asks
    assert transfer.done


def missing_in(asks: list[Ask]) -> list[tuple[int, int]]:
    """(first chunk, chunks) of the one blob that the last message says is missing."""
    (blob,) = next(ask for ask in reversed(asks) if isinstance(ask, Missing)).blobs
    return list(blob.runs)


def test_a_device_says_what_it_misses_after_every_few_chunks_and_when_it_is_asked(start: Start, store: Store) -> None:
    transfer = start([TEN], store, version=2)
    chunks = serve({digest_of(TEN): TEN}, transfer.wants(0))
    assert len(chunks) == 10
    for chunk in chunks[:2]:
        transfer.take(chunk, 0.1)
        assert transfer.wants(0.1) == []
    transfer.take(chunks[6], 0.2)
    (progress,) = transfer.wants(0.2)
    assert missing_in([progress]) == [(2, 4), (7, 3)]
    assert isinstance(progress, Missing)
    assert isinstance(chunks[6], NumberedChunk)
    assert progress.seen == chunks[6].sequence
    question = NumberedChunk(digest_of(TEN), 0, chunks[6].sequence + 99, b"", asks=True)
    for _ in range(50):
        transfer.take(question, 0.35)
    assert len(transfer.wants(0.35)) == 1
    transfer.take(question, 0.36)
    assert transfer.wants(0.36) == []  # anybody can ask: not more than ten answers a second
    assert missing_in(transfer.wants(0.5)) == [(2, 4), (7, 3)]
    for chunk in chunks:
        transfer.take(chunk, 0.6)
    assert transfer.done
    assert transfer.farewell(0.6) == replace(progress, nonce=ANY, seen=ANY, blobs=())
    assert transfer.farewell(0.6) is None


def test_absent_counts_only_from_who_knows_what_the_source_was_asked(
    start: Start, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    transfer = start([TEN], store, version=2)
    for now in (0, 1, 3):
        (asked,) = transfer.wants(now)
        assert isinstance(asked, Missing)
        for number in range(100):
            transfer.take(NumberedChunk(digest_of(TEN), 0, 0, b"", absent=f"{number:016x}"), now)
        if now == 3:
            break
        for _ in range(2):  # the same answer twice is one
            transfer.take(NumberedChunk(digest_of(TEN), 0, 0, b"", absent=asked.nonce), now)
    assert transfer.wrong_chunks == 300
    assert len(caplog.records) < 12
    with pytest.raises(TransferError, match="does not have blob") as error:
        transfer.take(NumberedChunk(digest_of(TEN), 0, 0, b"", absent=asked.nonce), 3)
    assert is_worth_retrying(error.value)


def test_a_slow_link_is_not_taken_for_a_silent_source(start: Start, store: Store) -> None:
    """A chunk in 3 s: what is on its way must not be asked for again."""
    transfer = start([TEN], store, version=2)
    chunks = serve({digest_of(TEN): TEN}, transfer.wants(0))
    asked_at = []
    for tenth in range(1, 150):
        if tenth % 30 == 0:
            transfer.take(chunks[tenth // 30 - 1], tenth / 10)
        if transfer.wants(tenth / 10):
            asked_at.append(tenth / 10)
    assert asked_at == [1.0, 9.0]  # before it was known how slow it is, and with the third chunk


def test_after_a_reconnection_everything_missing_is_asked_for_at_once(start: Start, store: Store) -> None:
    transfer = start([TEN], store)
    chunks = serve({digest_of(TEN): TEN}, transfer.wants(0))
    transfer.take(chunks[0], 0)
    transfer.take(chunks[2], 0)
    transfer.reconnected(0.1)
    assert spans_asked(transfer.wants(0.1)) == [(1, 1), (3, 1), (4, 2)]


def absent(data: bytes) -> Chunk:
    return Chunk(digest_of(data), 0, b"", absent=True)


def test_a_blob_that_the_source_lacks_is_a_transfer_error_when_it_was_said_three_times(
    start: Start, store: Store
) -> None:
    transfer = start([bytes(100)], store)
    for now in (0, 1):
        assert transfer.wants(now)
        transfer.take(absent(bytes(100)), now)
    assert transfer.wants(3)
    with pytest.raises(TransferError, match="does not have blob"):
        transfer.take(absent(bytes(100)), 3)


def test_any_number_of_forged_absents_does_not_end_a_transfer_whose_source_sends(start: Start, store: Store) -> None:
    transfer = start([TEN], store)
    now, blobs = 0.0, {digest_of(TEN): TEN}
    while not transfer.done:
        assert now < 20
        for chunk in serve(blobs, transfer.wants(now)):
            for _ in range(10):
                transfer.take(absent(TEN), now)
            transfer.take(chunk, now)
        now += 1
    assert store.read(Descriptor.of(TEN, OCTETS_TYPE)) == TEN


def test_a_wrong_early_chunk_costs_that_chunk_and_is_counted(
    start: Start, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    transfer = start([TEN], store)
    asked = transfer.wants(0)
    for _ in range(1000):
        transfer.take(Chunk(digest_of(TEN), CHUNK_BYTES, bytes(CHUNK_BYTES)), 0)
    for chunk in serve({digest_of(TEN): TEN}, asked):
        if chunk.offset != CHUNK_BYTES:
            transfer.take(chunk, 0)
    assert transfer.wrong_chunks == 1000
    assert transfer.done_bytes == 3 * CHUNK_BYTES
    assert spans_asked(transfer.wants(0)) == [(4, 3)]
    assert spans_asked(transfer.wants(1)) == [(1, 1), (4, 3)]
    assert 1 <= len(caplog.records) < 12
    finish(transfer, {digest_of(TEN): TEN}, 2)


def test_a_blob_without_a_table_that_is_wrong_is_fetched_again_and_three_times_wrong_an_error(
    start: Start, store: Store
) -> None:
    wrong = {digest_of(TEN): bytes(len(TEN))}
    transfer = start([TEN], store, tables=False)
    with pytest.raises(TransferError, match="wrong bytes 3 times"):
        finish(transfer, wrong, 0)
    assert transfer.done_bytes == 0
    finish(start([TEN], store, tables=False), {digest_of(TEN): TEN}, 0)
    assert store.read(Descriptor.of(TEN, OCTETS_TYPE)) == TEN


def test_a_table_of_another_blob_does_not_make_a_blob_of_it(store: Store) -> None:
    descriptors, _ = describe([NINE])
    tables = {digest_of(NINE): tables_of([TEN[: len(NINE)]])[digest_of(TEN[: len(NINE)])]}
    transfer = Transfer("d", descriptors, store, 0, LIMITS, tables=tables, wire=Wire(1))
    with pytest.raises(TransferError, match="wrong bytes"):
        finish(transfer, {digest_of(NINE): TEN[: len(NINE)]}, 0)
    assert missing_blobs(descriptors, store) == tuple(descriptors)

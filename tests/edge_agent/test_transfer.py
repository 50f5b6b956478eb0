from __future__ import annotations

import random
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.install.transfer import Transfer, TransferLimits, gaps, missing_blobs
from neo.contract.messages import Chunk, Want
from neo.contract.oci import OCTETS_TYPE, Descriptor
from neo.errors import TransferError
from neo.store import Store

LIMITS = TransferLimits(window_bytes=1000, open_blobs=3, ask_again_s=1, ask_again_cap_s=4, give_up_s=20)
CHUNK = 130


def serve(blobs: dict[str, bytes], wants: list[Want]) -> list[Chunk]:
    """What a source sends, in order."""
    return [
        Chunk(want.digest, start, blobs[want.digest][start : min(start + CHUNK, want.offset + want.length)])
        for want in wants
        for start in range(want.offset, want.offset + want.length, CHUNK)
    ]


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


@settings(max_examples=150, deadline=None)
@given(
    datas=st.lists(st.integers(0, 2500).map(lambda n: random.Random(n).randbytes(n)), min_size=1, max_size=5),
    seed=st.integers(0, 2**32),
    steps=st.integers(0, 120),
)
def test_loss_repetition_disorder_and_kills_at_any_byte_end_with_the_sources_bytes(
    datas: list[bytes], seed: int, steps: int
) -> None:
    chance = random.Random(seed)
    descriptors, blobs = describe(datas)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        now = 0.0
        transfer = Transfer("d", descriptors, store, now, LIMITS)
        air: deque[Chunk] = deque()
        for _ in range(steps):
            air.extend(serve(blobs, transfer.wants(now)))
            what = chance.choice(["deliver"] * 6 + ["lose", "repeat", "mix", "wait", "kill"])
            if what == "wait":
                now += 0.7
            elif what == "kill":
                transfer.close()
                for part in (Path(folder) / "ingest").iterdir():
                    with part.open("r+b") as file:
                        file.truncate(chance.randint(0, part.stat().st_size))
                transfer = Transfer("d", descriptors, store, now, LIMITS)
            elif air:
                if what == "mix":
                    chance.shuffle(air)
                chunk = air.popleft()
                if what != "lose":
                    transfer.take(chunk, now)
                if what == "repeat":
                    air.append(chunk)
            assert transfer.buffered_bytes <= LIMITS.window_bytes
        finish(transfer, blobs, now + 1)
        assert transfer.done_bytes == transfer.total_bytes
        assert all(store.read(descriptor) == blobs[descriptor.digest] for descriptor in descriptors)


@given(st.integers(0, 50), st.integers(0, 60), st.dictionaries(st.integers(0, 70), st.binary(max_size=9), max_size=6))
def test_gaps_are_exactly_the_bytes_that_no_early_chunk_covers(start: int, end: int, early: dict[int, bytes]) -> None:
    covered = {at for offset, data in early.items() for at in range(offset, offset + len(data))}
    asked = [at for offset, length in gaps(start, end, early) for at in range(offset, offset + length)]
    assert asked == [at for at in range(start, end) if at not in covered]


Start = Callable[[list[Descriptor], Store], Transfer]


@pytest.fixture
def start() -> Iterator[Start]:
    """A new transfer at time 0; its files are closed at the end."""
    started: list[Transfer] = []

    def begin(descriptors: list[Descriptor], store: Store) -> Transfer:
        started.append(Transfer("d", descriptors, store, 0, LIMITS))
        return started[-1]

    yield begin
    for transfer in started:
        transfer.close()


def test_no_more_than_the_window_is_ever_asked_for_and_not_answered(start: Start, tmp_path: Path) -> None:
    descriptors, _ = describe([bytes(5000), b"1" * 5000])
    transfer = start(descriptors, Store(tmp_path))
    assert sum(want.length for want in transfer.wants(0)) == LIMITS.window_bytes
    assert transfer.wants(0.5) == []


def test_chunks_that_were_not_asked_for_take_no_memory_and_no_disk(start: Start, tmp_path: Path) -> None:
    descriptors, _ = describe([bytes(5000)])
    transfer = start(descriptors, Store(tmp_path))
    transfer.wants(0)
    for offset in range(1, 900):
        transfer.take(Chunk(descriptors[0].digest, offset, bytes(50)), 0)
    transfer.take(Chunk(descriptors[0].digest, 4000, bytes(50)), 0)
    transfer.take(Chunk("sha256:" + "0" * 64, 0, bytes(50)), 0)
    assert transfer.buffered_bytes <= LIMITS.window_bytes
    assert transfer.done_bytes == 0


def test_only_what_is_missing_is_asked_for_after_a_restart(start: Start, tmp_path: Path) -> None:
    (descriptor,), blobs = describe([random.Random(1).randbytes(900)])
    store = Store(tmp_path)
    first = start([descriptor], store)
    for chunk in serve(blobs, first.wants(0))[:3]:
        first.take(chunk, 0)
    first.close()
    assert start([descriptor], store).wants(0) == [Want("d", descriptor.digest, 3 * CHUNK, 900 - 3 * CHUNK)]


def test_unanswered_wants_are_repeated_less_and_less_often_until_it_gives_up(start: Start, tmp_path: Path) -> None:
    (descriptor,), _ = describe([bytes(100)])
    transfer = start([descriptor], Store(tmp_path))
    asked_at = [tenth / 10 for tenth in range(201) if transfer.wants(tenth / 10)]
    assert asked_at == [0, 1, 3, 7, 11, 15, 19]
    with pytest.raises(TransferError, match="nothing useful for 20 s"):
        transfer.wants(20.1)


def test_after_a_reconnection_everything_missing_is_asked_for_at_once(start: Start, tmp_path: Path) -> None:
    (descriptor,), blobs = describe([random.Random(1).randbytes(900)])
    transfer = start([descriptor], Store(tmp_path))
    chunks = serve(blobs, transfer.wants(0))
    transfer.take(chunks[0], 0)
    transfer.take(chunks[2], 0)
    transfer.reconnected(0.1)
    assert [(want.offset, want.length) for want in transfer.wants(0.1)] == [(130, 130), (390, 510)]


def test_a_blob_that_the_source_lacks_is_a_transfer_error(start: Start, tmp_path: Path) -> None:
    (descriptor,), _ = describe([bytes(100)])
    transfer = start([descriptor], Store(tmp_path))
    transfer.wants(0)
    with pytest.raises(TransferError, match="does not have blob"):
        transfer.take(Chunk(descriptor.digest, 0, b"", absent=True), 0)


def test_wrong_bytes_are_dropped_and_a_transfer_error(start: Start, tmp_path: Path) -> None:
    (descriptor,), blobs = describe([b"a" * 100])
    store = Store(tmp_path)
    transfer = start([descriptor], store)
    transfer.wants(0)
    with pytest.raises(TransferError, match="wrong bytes"):
        transfer.take(Chunk(descriptor.digest, 0, b"b" * 100), 0)
    assert missing_blobs([descriptor], store) == (descriptor,)
    finish(start([descriptor], store), blobs, 0)
    assert store.read(descriptor) == b"a" * 100

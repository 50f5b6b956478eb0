"""What a source sends of what many miss: once for all, again for those who lost it, and not without end."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neo.contract.chunks import CHUNK_BYTES, chunk_count
from neo.contract.messages import Chunk, Missing, MissingChunks, NumberedChunk, Want
from neo.contract.oci import digest_of
from neo.fleet.budget import Bucket, Budget
from neo.fleet.passes import GATHER_S, WINDOW, Blob, Passes, Sending, bits_of
from neo.fleet.source import BlobSource
from neo.link import Message
from neo.store import Store
from neo.store.bundles import Bundle
from tests.fleet.devices import TOPICS, make_bundle
from tests.fleet.test_source import Sent

A, B, UNKNOWN = (digest_of(letter) for letter in (b"a", b"b", b"?"))
BLOBS = {A: Blob(5 * CHUNK_BYTES, 8 * CHUNK_BYTES), B: Blob(10, 8 * CHUNK_BYTES)}


def missing(device: str, seen: int, /, **runs: tuple[tuple[int, int], ...]) -> Missing:
    blobs = tuple(MissingChunks({"a": A, "b": B, "u": UNKNOWN}[name], value) for name, value in runs.items())
    return Missing(device, "0" * 16, seen, blobs)


def passes(blobs: dict[str, Blob] = BLOBS) -> Passes:
    return Passes(blobs.get, Budget())


def all_now(source: Passes, now: float, most: int = 1000) -> list[Sending]:
    sent: list[Sending] = []
    while len(sent) < most and (sending := source.next(now)) is not None:
        sent.append(sending)
    return sent


def data_of(sent: list[Sending]) -> list[tuple[int, str]]:
    return [(sending.index, sending.device) for sending in sent if not sending.asks]


def test_what_one_device_misses_goes_to_it_alone_and_at_once() -> None:
    source = passes()
    assert source.accept(missing("d", 0, a=((1, 2), (4, 1))), 0.0) == []
    assert data_of(all_now(source, 0.0)) == [(1, "d"), (2, "d"), (4, "d")]


def test_what_several_miss_goes_out_once_for_all_and_again_singly_to_the_one_who_lost_it() -> None:
    source = passes()
    for device in ("c", "d", "e"):
        source.accept(missing(device, 0, a=((0, 5),)), 0.0)
    assert all_now(source, 0.0) == []  # others may be coming, too
    first = all_now(source, 1.0)
    assert data_of(first) == [(index, "") for index in range(5)]
    assert first[-1].asks
    for device in ("c", "e"):
        source.accept(missing(device, first[-1].sequence), 1.1)
    assert all_now(source, 1.1) == []  # one has not answered
    source.accept(missing("d", first[-1].sequence, a=((3, 1),)), 1.2)
    assert data_of(all_now(source, 1.2)) == [(3, "d")]


def test_what_is_on_its_way_is_not_sent_again_and_what_was_lost_at_the_end_is() -> None:
    source = passes()
    source.accept(missing("d", 0, a=((0, 5),)), 0.0)
    sent = all_now(source, 0.0)
    source.accept(missing("d", sent[1].sequence, a=((2, 3),)), 0.1)
    assert data_of(all_now(source, 0.1)) == []
    source.accept(missing("d", sent[1].sequence, a=((2, 3),)), 3.0)
    assert data_of(all_now(source, 3.0)) == [(2, "d"), (3, "d"), (4, "d")]


def test_a_blob_that_is_not_served_is_named() -> None:
    assert passes().accept(missing("d", 0, u=((0, 1),), b=((0, 1),)), 0.0) == [UNKNOWN]


def test_a_source_does_not_run_ahead_of_a_slow_device_and_leaves_it_behind_when_others_wait() -> None:
    large = {A: Blob(40 * CHUNK_BYTES, 40 * CHUNK_BYTES)}
    source = passes(large)
    source.accept(missing("slow", 0, a=((0, 40),)), 0.0)
    first = all_now(source, 0.0)
    assert len(first) == WINDOW
    assert all_now(source, 30.0) == []  # alone it has all the time
    source = passes(large)
    for device in ("slow", "fast"):
        source.accept(missing(device, 0, a=((0, 40),)), 0.0)
    first = all_now(source, 5.0)
    assert len(first) == WINDOW
    source.accept(missing("fast", first[-1].sequence, a=((WINDOW, 40 - WINDOW),)), 5.1)
    assert all_now(source, 5.5) == []
    assert len(all_now(source, 6.1)) == WINDOW


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 12), lost=st.floats(0, 0.6), chunks=st.integers(1, 30))
def test_everybody_gets_everything_whatever_is_lost_and_whoever_goes(
    seed: int, count: int, lost: float, chunks: int
) -> None:
    chance = random.Random(seed)
    source = Passes({A: Blob(chunks * CHUNK_BYTES, 1000 * CHUNK_BYTES)}.get, Budget())
    lacks = {f"d{number}": set(range(chunks)) for number in range(count)}
    seen = dict.fromkeys(lacks, 0)
    now, said_at = 0.0, dict.fromkeys(lacks, -9.0)
    for _ in range(4000):
        if not any(lacks.values()):
            return
        now += 0.05
        for device, indices in lacks.items():
            if indices and now - said_at[device] > chance.choice([0.2, 2.0]):
                said_at[device] = now
                runs = tuple((index, 1) for index in sorted(indices))
                source.accept(missing(device, seen[device], a=runs), now)
        for sending in all_now(source, now):
            for device, indices in lacks.items():
                if sending.device in ("", device) and chance.random() >= lost:
                    seen[device] = max(seen[device], sending.sequence)
                    if not sending.asks:
                        indices.discard(sending.index)
        if chance.random() < 0.01:
            lacks[chance.choice(list(lacks))].clear()  # it went away without a word
    raise AssertionError(f"not all is sent: {lacks}")


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 300)), max_size=9), st.integers(0, 200))
def test_bits_are_the_chunks_of_the_runs_that_the_blob_has(runs: list[tuple[int, int]], count: int) -> None:
    wanted = {index for first, length in runs for index in range(first, first + length) if index < count}
    assert bits_of(runs, count) == sum(1 << index for index in wanted)


def test_absurd_runs_take_no_memory() -> None:
    assert bits_of([(0, 1 << 40), (1 << 39, 1 << 40)], 3) == 0b111


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 50)), max_size=60))
def test_a_bucket_never_gives_more_than_its_capacity_and_what_it_gained(takes: list[tuple[float, int]]) -> None:
    bucket, now, given_bytes = Bucket(100, 7, 0.0), 0.0, 0
    for seconds, size in takes:
        now += seconds
        given_bytes += size if bucket.take(size, now) else 0
        assert given_bytes <= 100 + 7 * now + 1e-6


class Flooded:
    """A source whose bundle is 3 MB, with time that goes on by itself as messages come."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.data = random.Random(1).randbytes(3_000_000)
        self.bundle: Bundle = make_bundle(store, folder, ballast=self.data)
        self.now = 0.0
        self.source = BlobSource(store, TOPICS, "s", clock=lambda: self.now)
        self.sent = Sent()
        self.source.send(self.sent)

    def flood(self, make: Callable[[int], Want | Missing], seconds: float = 18.0, count: int = 30_000) -> float:
        """-> bytes published, as a multiple of the bundle."""
        before = self.sent.bytes
        for number in range(count):
            self.now += seconds / count
            message = make(number)
            topic = self.source.topics[0 if isinstance(message, Want) else 1]
            self.source.accept(Message(topic, message.to_bytes(), retained=False))
            if number % 10 == 0:
                self.source.send(self.sent)
        return (self.sent.bytes - before) / self.bundle.size_bytes


@pytest.fixture
def flooded(store: Store, tmp_path: Path) -> Flooded:
    return Flooded(store, tmp_path / "bundle")


def test_thirty_thousand_wants_of_made_up_ids_cost_little_more_than_twice_the_bundle(
    flooded: Flooded, caplog: pytest.LogCaptureFixture
) -> None:
    digest = digest_of(flooded.data)
    assert flooded.flood(lambda number: Want(f"made-up-{number}", digest, 0, 270_000)) < 2.7
    assert len(caplog.records) < 40


def test_thirty_thousand_made_up_ids_of_wire_2_cost_little_more_than_twice_the_bundle(flooded: Flooded) -> None:
    blobs = (MissingChunks(digest_of(flooded.data), ((0, 40),)),)
    assert flooded.flood(lambda number: Missing(f"made-up-{number}", "0" * 16, number, blobs)) < 2.7


@pytest.mark.parametrize("wire", [1, 2])
def test_one_device_that_asks_without_end_gets_little_more_than_twice_the_bundle_a_minute(
    flooded: Flooded, wire: int
) -> None:
    digest = digest_of(flooded.data)

    def ask(number: int) -> Want | Missing:
        if wire == 1:
            return Want("greedy", digest, number % 30 * CHUNK_BYTES, CHUNK_BYTES)
        seen = max((NumberedChunk.from_bytes(payload).sequence for _, payload in flooded.sent.messages[-1:]), default=0)
        return Missing("greedy", "0" * 16, seen, (MissingChunks(digest, ((0, 31),)),))

    # and what it had as one that was not known yet
    assert flooded.flood(ask, seconds=60, count=6000) < 2 + 2 + 2.2


def test_a_true_device_is_served_while_strangers_flood(flooded: Flooded) -> None:
    digest, got, seen = digest_of(flooded.data), set(), 0
    blobs = (MissingChunks(digest, ((0, 31),)),)
    for second in range(200):
        flooded.flood(lambda number, at=second: Missing(f"m-{at}-{number}", "0" * 16, 0, blobs), seconds=0.5, count=20)  # type: ignore[misc]
        for _, payload in flooded.sent.messages:
            chunk = NumberedChunk.from_bytes(payload)
            seen = max(seen, chunk.sequence)
            got.update([chunk.index] if chunk.data else [])
        flooded.sent.messages.clear()
        lacks = tuple((index, 1) for index in range(chunk_count(len(flooded.data))) if index not in got)
        if not lacks:
            return
        true = Missing("true", "0" * 16, seen, (MissingChunks(digest, lacks),))
        flooded.source.accept(Message(flooded.source.topics[1], true.to_bytes(), retained=False))
    raise AssertionError(f"{len(got)} chunks in 100 s")


def test_devices_of_both_wires_are_served_at_the_same_time(flooded: Flooded) -> None:
    digest = digest_of(flooded.data)
    old = Want("old", digest, 0, 1_500_000)
    new = Missing("new", "0" * 16, 0, (MissingChunks(digest, ((0, 31),)),))
    for message, topic in ((old, 0), (new, 1)):
        flooded.source.accept(Message(flooded.source.topics[topic], message.to_bytes(), retained=False))
    for _ in range(100):
        flooded.now += 0.1
        flooded.source.send(flooded.sent)
    by_topic: dict[str, set[int]] = {}
    for topic, payload in flooded.sent.messages:
        chunk = NumberedChunk.from_bytes(payload) if NumberedChunk.is_one(payload) else Chunk.from_bytes(payload)
        by_topic.setdefault(topic, set()).add(chunk.offset)
    assert len(by_topic[TOPICS.device("old", "chunk")]) == 16
    assert len(by_topic[TOPICS.chunk("new")]) == WINDOW  # until it says more


def test_a_rate_limit_holds_for_all_together(store: Store, tmp_path: Path) -> None:
    flooded = Flooded(store, tmp_path / "bundle")
    flooded.source = BlobSource(store, TOPICS, "s", clock=lambda: flooded.now, max_bytes_per_s=200_000)
    sent = Sent()
    for number in range(100):
        want = Want(f"d{number % 5}", digest_of(flooded.data), number % 5 * 300_000, 300_000)
        flooded.source.accept(Message(flooded.source.topics[0], want.to_bytes(), retained=False))
        flooded.now += 0.1
        flooded.source.send(sent)
        assert sent.bytes <= 200_000 * (flooded.now + 1) + CHUNK_BYTES
    assert sent.bytes > 1_000_000


def test_answers_are_waited_for_only_so_long() -> None:
    source = passes()
    for device in ("gone", "here"):
        source.accept(missing(device, 0, a=((0, 5),)), 0.0)
    sent = all_now(source, 5.0)
    source.accept(missing("here", sent[-1].sequence, a=((2, 1),)), 5.1)
    assert data_of(all_now(source, 5.1)) == []
    assert data_of(all_now(source, 5.0 + GATHER_S)) == [(2, "here")]

"""What a source answers to a want."""

from __future__ import annotations

import contextlib
import json
import time

import pytest

from neo.contract.chunks import CHUNK_BYTES
from neo.contract.fields import ContractError
from neo.contract.messages import Chunk, Missing, Presence, Want
from neo.contract.oci import EMPTY_BYTES, digest_of
from neo.fleet.source import BlobSource, servable_blobs, serving, source_id_of
from neo.link import Message
from neo.store import Store
from neo.store.bundles import signatures_of
from neo.trust.statement import SIGNATURE_TYPE
from tests.brokers import embedded_broker
from tests.fleet.devices import TOPICS, make_bundle
from tests.test_link import linked, messages, next_event


@contextlib.contextmanager
def asking(broker, source_id: str):
    """-> ask(want) -> the chunks that come, and what a device sees of the source."""
    topics = [TOPICS.device("dev", "chunk"), TOPICS.source(source_id, "presence")]
    with linked(broker.url, *topics, name="dev") as (link, inbox):

        def ask(digest: str, offset: int, length: int) -> list[Chunk]:
            link.publish(TOPICS.source(source_id, "want"), Want("dev", digest, offset, length).to_bytes())
            return [Chunk.from_bytes(m.payload) for m in messages(inbox) if m.topic.endswith("/chunk")]

        yield ask, inbox


def test_a_blob_comes_in_order_in_chunks_that_every_broker_takes(broker, store, tmp_path):
    data = bytes(range(256)) * 2000
    bundle = make_bundle(store, tmp_path / "b", ballast=data)
    digest = digest_of(data)
    with serving(store, TOPICS, broker.url) as source_id, asking(broker, source_id) as (ask, _):
        time.sleep(0.5)
        chunks = ask(digest, 0, len(data))
        assert b"".join(chunk.data for chunk in chunks) == data
        assert [chunk.offset for chunk in chunks] == list(range(0, len(data), CHUNK_BYTES))
        assert max(len(chunk.to_bytes()) for chunk in chunks) < 100_000
        assert [chunk.data for chunk in ask(digest, 1000, 10)] == [data[1000:1010]]
        assert [chunk.data for chunk in ask(bundle.descriptor.digest, 0, 1 << 20)] == [store.read(bundle.descriptor)]


def test_what_belongs_to_no_bundle_is_absent_even_if_the_store_has_it(broker, store, tmp_path):
    bundle = make_bundle(store, tmp_path / "b")
    secret = store.put(b"not in any bundle", "text/plain").digest
    with serving(store, TOPICS, broker.url) as source_id, asking(broker, source_id) as (ask, _):
        time.sleep(0.5)
        for digest in (secret, digest_of(b"nowhere"), digest_of(EMPTY_BYTES)):
            assert [(chunk.absent, chunk.data) for chunk in ask(digest, 0, 100)] == [(True, b"")]
        assert ask(bundle.descriptor.digest, 1 << 40, 5)[0].absent


class Sent:
    """Where a source publishes to: everything is taken at once."""

    backlog = 0

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []

    def publish(self, topic: str, payload: bytes, **_how: object) -> None:
        self.messages.append((topic, payload))

    @property
    def bytes(self) -> int:
        return sum(len(payload) for _, payload in self.messages)


def ask(source: BlobSource, message: Want | Missing) -> None:
    topic = source.topics[0] if isinstance(message, Want) else source.topics[1]
    source.accept(Message(topic, message.to_bytes(), retained=False))


def answers(source: BlobSource, *wants: Want) -> list[Chunk]:
    sent = Sent()
    source.send(sent)
    for want in wants:
        ask(source, want)
        source.send(sent)
    return [Chunk.from_bytes(payload) for _, payload in sent.messages]


def test_a_bundle_added_later_is_served_and_a_removed_one_is_not(store, tmp_path):
    source = BlobSource(store, TOPICS, "s")
    bundle = make_bundle(store, tmp_path / "b")
    want = Want("dev", bundle.descriptor.digest, 0, 1 << 20)
    assert [chunk.data for chunk in answers(source, want)] == [store.read(bundle.descriptor)]
    store.remove_from_index([bundle.descriptor.digest])
    assert [chunk.absent for chunk in answers(source, want)] == [True]


def test_signatures_are_served_and_the_manifests_around_them_are_not(store, tmp_path):
    bundle = make_bundle(store, tmp_path / "b")
    (envelope,) = signatures_of(store, bundle.descriptor.digest, SIGNATURE_TYPE)
    blobs = servable_blobs(store)
    layers = {layer.digest for layer in bundle.image.layers}
    assert blobs.keys() == {envelope.digest, bundle.descriptor.digest, bundle.image.config.digest, *layers}


@pytest.mark.parametrize("payload", [b"", b"{}", b"\xff", json.dumps({"device_id": "../x"}).encode()])
def test_what_is_unreadable_is_dropped_and_a_flood_of_it_does_not_fill_the_log(store, payload, caplog):
    source = BlobSource(store, TOPICS, "s")
    for _ in range(1000):
        for topic in source.topics:
            source.accept(Message(topic, payload, retained=False))
    sent = Sent()
    assert not source.send(sent)
    assert sent.messages == []
    assert 1 <= len(caplog.records) < 15


def test_the_same_want_twice_is_answered_once_and_a_flood_is_bounded(store, tmp_path, caplog):
    bundle = make_bundle(store, tmp_path / "b", ballast=bytes(1000))
    source = BlobSource(store, TOPICS, "s")
    sent = Sent()
    source.send(sent)
    for _ in range(3):
        ask(source, Want("dev", digest_of(bytes(1000)), 0, 5))
    source.send(sent)
    assert len(sent.messages) == 1
    for offset in range(999):
        ask(source, Want("dev", digest_of(bytes(1000)), offset, 1))
    source.send(sent)
    assert len(sent.messages) == 1 + 64
    assert bundle.size_bytes > 64
    assert "in the name of dev" in caplog.text


def test_a_source_says_when_it_comes_and_goes(broker, store):
    with asking(broker, source_id_of(store)) as (_, inbox):
        with serving(store, TOPICS, broker.url):
            assert [Presence.from_bytes(m.payload).online for m in messages(inbox)] == [True]
        assert [Presence.from_bytes(m.payload).online for m in messages(inbox)] == [False]


def next_presence(inbox) -> bool:
    while True:
        message = next_event(inbox, Message, 20)
        if message.topic.endswith("/presence"):
            return Presence.from_bytes(message.payload).online


def test_a_source_whose_index_is_damaged_goes_offline_says_why_and_comes_back(broker, store, tmp_path, caplog):
    bundle = make_bundle(store, tmp_path / "b")
    index = store.root / "index.json"
    whole = index.read_bytes()
    with asking(broker, source_id_of(store)) as (ask, inbox), serving(store, TOPICS, broker.url):
        assert next_presence(inbox)
        index.write_bytes(whole[: len(whole) // 2])
        assert not next_presence(inbox)
        with linked(broker.url, TOPICS.source(source_id_of(store), "presence"), name="later") as (_, later):
            assert not next_presence(later)  # retained: who comes now sees it, too
        index.write_bytes(whole)
        assert next_presence(inbox)
        assert "the source of blobs failed" in caplog.text
        assert f"{index} is damaged" in caplog.text
        assert ask(bundle.descriptor.digest, 0, 1 << 20)[0].data == store.read(bundle.descriptor)


def test_a_source_whose_index_is_damaged_from_the_start_never_says_that_it_is_online(broker, store, caplog):
    (store.root / "index.json").write_bytes(b"{")
    with asking(broker, source_id_of(store)) as (_, inbox), serving(store, TOPICS, broker.url):
        assert messages(inbox, 1.5) == []
    assert "is damaged" in caplog.text


def test_the_source_id_is_made_once_and_a_broken_one_is_reported(store):
    first = source_id_of(store)
    assert source_id_of(Store(store.root)) == first
    (store.root / "source-id").write_text("a/b")
    with pytest.raises(Exception, match="holds no source id"):
        source_id_of(store)
    with pytest.raises(ContractError):
        TOPICS.source("a/b", "want")


def test_a_source_with_a_rate_limit_takes_its_time(broker, store, tmp_path):
    data = bytes(range(256)) * 4800
    make_bundle(store, tmp_path / "b", ballast=data)
    with (
        serving(store, TOPICS, broker.url, max_bytes_per_s=400_000) as source_id,
        asking(broker, source_id) as (ask, _),
    ):
        time.sleep(0.5)
        begun = time.monotonic()
        chunks = ask(digest_of(data), 0, len(data))
        assert b"".join(chunk.data for chunk in chunks) == data
        assert time.monotonic() - begun >= (len(data) - 400_000) / 400_000 - 0.5


def test_the_broker_command_serves_the_store(tmp_path, store):
    bundle = make_bundle(store, tmp_path / "b")
    with (
        embedded_broker(tmp_path / "broker", store=store.root) as running,
        asking(running, source_id_of(store)) as (ask, _),
    ):
        time.sleep(0.5)
        assert ask(bundle.descriptor.digest, 0, 1 << 20)[0].data == store.read(bundle.descriptor)

"""The store as a source of blobs: devices say which bytes they miss, the source sends them."""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from neo.contract.chunks import CHUNK_BYTES, chunk_span
from neo.contract.device import parse_name
from neo.contract.fields import ContractError
from neo.contract.manifest import BUNDLE_TYPE
from neo.contract.messages import Chunk, Missing, NumberedChunk, Presence, Want
from neo.contract.oci import MANIFEST_TYPE, ImageManifest
from neo.contract.topics import Topics
from neo.durable import replace_file
from neo.errors import StoreError
from neo.fleet.budget import Bucket, Budget
from neo.fleet.passes import Blob, Passes
from neo.fleet.singly import SingleWants
from neo.fleet.tally import Tally
from neo.fleet.transport import Publisher
from neo.link import BrokerUrl, Connected, Event, Link, Message
from neo.store import Store
from neo.supervision import SupervisedThread
from neo.trust.statement import SIGNATURE_TYPE

log = logging.getLogger(__name__)

MAX_BACKLOG = 16  # messages handed to the link that the broker does not have yet
MAX_ABSENT = 1024  # answers that wait; who gets none asks again
POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class SourcePresence:
    """How a source tells that it is there: the same session in the birth message and in the last will."""

    topic: str
    session: str

    @classmethod
    def new(cls, topics: Topics, source_id: str) -> SourcePresence:
        return cls(topics.source(source_id, "presence"), secrets.token_hex(8))

    def payload(self, *, online: bool) -> bytes:
        return Presence(online, self.session, time.time()).to_bytes()

    @property
    def will(self) -> tuple[str, bytes]:
        return self.topic, self.payload(online=False)


class BlobSource:
    """Answers devices with chunks. Not thread-safe: ``accept`` what arrives, and ``send`` until nothing is left.

    Serves only what belongs to a bundle in the store's index: manifest, config, files, and the signatures about it.
    Devices of wire 1 get what they ask for on a topic of their own; those of wire 2 share, see ``passes``.
    max_bytes_per_s: of all that is sent, None for no limit.
    """

    def __init__(
        self,
        store: Store,
        topics: Topics,
        source_id: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        max_bytes_per_s: float | None = None,
    ) -> None:
        #: what to subscribe to, at QoS 0: a broker drops QoS 1 from a long burst, and devices ask again anyway
        self.topics = topics.source(source_id, "want"), topics.missing(source_id)
        self._store = store
        self._topics = topics
        self._clock = clock
        self._rate = (
            None if max_bytes_per_s is None else Bucket(max(max_bytes_per_s, CHUNK_BYTES), max_bytes_per_s, clock())
        )
        self._budget = Budget()
        self._passes = Passes(self._find, self._budget)
        self._singly = SingleWants(self._find, self._budget)
        self._absent: collections.OrderedDict[tuple[str, str], str] = collections.OrderedDict()
        self._servable: Mapping[str, Blob] = {}
        self._index_stamp: tuple[int, int] | None = None
        self._dropped = Tally("requests for blobs")

    def accept(self, message: Message) -> None:
        """Note what a device wants. What is unreadable, asked for already, or too much is dropped, and counted."""
        now = self._clock()
        try:
            if message.topic == self.topics[0]:
                want = Want.from_bytes(message.payload)
                if not self._passes.hears(want.device_id, now):  # it tries both until it is answered
                    self._singly.accept(want, now)
            elif message.topic == self.topics[1]:
                self._accept_missing(Missing.from_bytes(message.payload), now)
        except ContractError as error:
            self._dropped.count("a sender that is not known", error.message)

    def send(self, publisher: Publisher) -> bool:
        """Send the next chunks, one blob and device after the other, as long as they are taken; -> is there more?

        Raises StoreError if the store's index cannot be read.
        """
        self.refresh()
        while publisher.backlog < MAX_BACKLOG and self._may_send() and self._send_one(publisher):
            pass
        return bool(self._absent) or self._singly.has_work or self._passes.has_work

    def _accept_missing(self, missing: Missing, now: float) -> None:
        for digest in self._passes.accept(missing, now):
            self._absent[missing.device_id, digest] = missing.nonce
            if len(self._absent) > MAX_ABSENT:
                self._absent.popitem(last=False)

    def _may_send(self) -> bool:
        return self._rate is None or self._rate.level(self._clock()) >= CHUNK_BYTES

    def _send_one(self, publisher: Publisher) -> bool:
        now = self._clock()
        if self._absent:
            (device, digest), nonce = self._absent.popitem(last=False)
            chunk = NumberedChunk(digest, 0, 0, b"", absent=nonce)
            return self._publish(publisher, self._topics.chunk(device), chunk.to_bytes(), now)
        want = self._singly.next(now)
        if want is not None:
            data = self._read(want.digest, want.offset, want.length)
            answer = Chunk(want.digest, want.offset, data, absent=not data)
            return self._publish(publisher, self._topics.device(want.device_id, "chunk"), answer.to_bytes(), now)
        sending = self._passes.next(now)
        if sending is None:
            return False
        data = (
            b"" if sending.asks else self._read(sending.digest, *chunk_span(sending.index, self._size(sending.digest)))
        )
        if not data and not sending.asks:
            return True  # it cannot be read: whoever misses it asks again, and is told that it is absent
        topic = self._topics.chunk(sending.device) if sending.device else self._topics.blob(sending.digest)
        numbered = NumberedChunk(sending.digest, sending.index, sending.sequence, data, asks=sending.asks)
        return self._publish(publisher, topic, numbered.to_bytes(), now)

    def _publish(self, publisher: Publisher, topic: str, payload: bytes, now: float) -> bool:
        if self._rate is not None:
            self._rate.take(len(payload), now)
        publisher.publish(topic, payload, qos=0)
        return True

    def _read(self, digest: str, offset: int, length: int) -> bytes:
        """b"" where there is nothing to send."""
        if digest not in self._servable:
            return b""
        try:
            with self._store.path(digest).open("rb") as file:
                file.seek(offset)
                return file.read(length)
        except (StoreError, OSError) as error:
            self._dropped.count("the store", f"cannot read blob {digest}: {error}")
            self._servable = {known: blob for known, blob in self._servable.items() if known != digest}
            return b""

    def _find(self, digest: str) -> Blob | None:
        return self._servable.get(digest)

    def _size(self, digest: str) -> int:
        blob = self._servable.get(digest)
        return 0 if blob is None else blob.size

    def refresh(self) -> None:
        """Look whether the store's index has changed. Raises StoreError if it cannot be read."""
        try:
            stat = (self._store.root / "index.json").stat()
        except FileNotFoundError:
            self._servable, self._index_stamp = {}, None
            return
        except OSError as error:
            raise StoreError(f"cannot look at {self._store.root / 'index.json'}: {error.strerror or error}") from error
        stamp = (stat.st_ino, stat.st_mtime_ns)
        if stamp != self._index_stamp:
            self._servable = servable_blobs(self._store)
            self._index_stamp = stamp


def servable_blobs(store: Store) -> Mapping[str, Blob]:
    """Everything that belongs to a bundle in the index, by digest."""
    blobs: dict[str, Blob] = {}
    bundles: dict[str, int] = {}
    entries = [entry for entry in store.manifests() if entry.media_type == MANIFEST_TYPE]
    for entry in entries:
        if entry.artifact_type == BUNDLE_TYPE and (image := _image(store, entry.digest)) is not None:
            parts = {part.digest: part.size for part in (entry, image.config, *image.layers)}
            bundles[entry.digest] = sum(parts.values())
            _add(blobs, parts, bundles[entry.digest])
    for entry in entries:
        image = _image(store, entry.digest) if entry.artifact_type == SIGNATURE_TYPE else None
        if image is not None and image.subject is not None and image.subject.digest in bundles:
            parts = {layer.digest: layer.size for layer in image.layers}
            _add(blobs, parts, bundles[image.subject.digest])
    return blobs


def _add(blobs: dict[str, Blob], parts: Mapping[str, int], bundle_bytes: int) -> None:
    for digest, size in parts.items():
        before = blobs.get(digest)
        blobs[digest] = Blob(size, max(bundle_bytes, size if before is None else before.bundle_bytes))


def source_id_of(store: Store) -> str:
    """The store's name on the network: random, made on first use. Raises StoreError, DiskFull."""
    path = store.root / "source-id"
    if not path.exists():
        fresh = path.with_name(f".source-id.{secrets.token_hex(4)}")
        replace_file(fresh, secrets.token_hex(8).encode())
        with contextlib.suppress(FileExistsError):  # another process was faster; its id counts
            os.link(fresh, path)
        fresh.unlink()
    try:
        return parse_name(path.read_text().strip(), "source id")
    except (ContractError, OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} holds no source id", hint="remove the file; a new id is made") from error


@contextlib.contextmanager
def serving(store: Store, topics: Topics, url: BrokerUrl, *, max_bytes_per_s: float | None = None) -> Iterator[str]:
    """Serve the store's blobs in a thread for as long as the ``with`` block lasts; -> the source id.

    max_bytes_per_s: of all that is published, None for no limit.

    While the store cannot be read the source is offline, as its presence says, and the reason is logged; it comes back
    by itself.
    """
    source_id = source_id_of(store)
    stopping = threading.Event()
    source = BlobSource(store, topics, source_id, max_bytes_per_s=max_bytes_per_s)
    work = partial(_serve, source, topics, source_id, url, stopping)
    thread = SupervisedThread("the source of blobs", work, stopping=stopping)
    thread.start()
    try:
        yield source_id
    finally:
        stopping.set()
        thread.join()


def _serve(source: BlobSource, topics: Topics, source_id: str, url: BrokerUrl, stopping: threading.Event) -> None:
    source.refresh()  # before anybody is told that it is there
    presence = SourcePresence.new(topics, source_id)
    inbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
    link = Link(
        url,
        client_id=f"neo-source-{presence.session}",
        subscriptions=(),
        watched=source.topics,
        inbox=inbox,
        will=presence.will,
    )
    link.start()
    more = False
    try:
        while not stopping.is_set():
            event: Event | None
            try:
                event = inbox.get(timeout=0.002 if more else POLL_S)
            except queue.Empty:
                event = None
                source.refresh()  # not only when a device asks: it would be told of a source that cannot serve
            if isinstance(event, Connected):
                link.publish(presence.topic, presence.payload(online=True), retain=True)
            elif isinstance(event, Message):
                source.accept(event)
            more = source.send(link)
    finally:
        if link.connected:
            link.publish(presence.topic, presence.payload(online=False), retain=True)
        link.stop()


def _image(store: Store, digest: str) -> ImageManifest | None:
    try:
        return ImageManifest.from_bytes(store.path(digest).read_bytes())
    except (StoreError, ContractError, OSError) as error:
        log.warning("the store's index names %s, which cannot be read: %s", digest, error)
        return None

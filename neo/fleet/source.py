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
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from neo.contract.device import parse_name
from neo.contract.fields import ContractError
from neo.contract.manifest import BUNDLE_TYPE
from neo.contract.messages import Chunk, Presence, Want
from neo.contract.oci import MANIFEST_TYPE, ImageManifest
from neo.contract.topics import Topics
from neo.durable import replace_file
from neo.errors import StoreError
from neo.fleet.transport import Publisher
from neo.link import BrokerUrl, Connected, Event, Link, Message
from neo.store import Store
from neo.supervision import SupervisedThread
from neo.trust.statement import SIGNATURE_TYPE

log = logging.getLogger(__name__)

CHUNK_BYTES = 98_304
MAX_BACKLOG = 16  # messages handed to the link that the broker does not have yet
MAX_WANTS = 64  # of one device at a time; what is beyond is asked for again
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
    """Answers wants with chunks. Not thread-safe: ``accept`` what arrives, and ``send`` until nothing is left.

    Serves only what belongs to a bundle in the store's index: manifest, config, files, and the signatures about it.
    """

    def __init__(self, store: Store, topics: Topics, source_id: str) -> None:
        self.topic = topics.source(source_id, "want")
        self._store = store
        self._topics = topics
        self._wants: collections.OrderedDict[str, collections.deque[Want]] = collections.OrderedDict()
        self._servable: frozenset[str] = frozenset()
        self._index_stamp: tuple[int, int] | None = None

    def accept(self, payload: bytes) -> None:
        """Note what a device wants. One that is unreadable, asked for already, or too many is dropped."""
        try:
            want = Want.from_bytes(payload)
        except ContractError as error:
            log.warning("dropped a request for a blob: %s", error.message)
            return
        wants = self._wants.setdefault(want.device_id, collections.deque())
        if len(wants) < MAX_WANTS and want not in wants:
            wants.append(want)

    def send(self, publisher: Publisher) -> bool:
        """Send the next chunks, one device after the other, as long as they are taken; -> is there more?

        Raises StoreError if the store's index cannot be read.
        """
        while self._wants and publisher.backlog < MAX_BACKLOG:
            device_id, wants = self._wants.popitem(last=False)
            rest = self._answer(publisher, wants.popleft())
            if rest is not None:
                wants.appendleft(rest)
            if wants:
                self._wants[device_id] = wants
        return bool(self._wants)

    def _answer(self, publisher: Publisher, want: Want) -> Want | None:
        """Send one chunk; -> what is still wanted of it."""
        topic = self._topics.device(want.device_id, "chunk")
        data = self._read(want.digest, want.offset, min(want.length, CHUNK_BYTES))
        if not data:
            publisher.publish(topic, Chunk(want.digest, want.offset, b"", absent=True).to_bytes(), qos=1)
            return None
        publisher.publish(topic, Chunk(want.digest, want.offset, data).to_bytes(), qos=0)
        left = want.length - len(data)
        if left == 0 or len(data) < CHUNK_BYTES:
            return None
        return replace(want, offset=want.offset + len(data), length=left)

    def _read(self, digest: str, offset: int, length: int) -> bytes:
        """b"" where there is nothing to send: a device that gets no answer would ask for ever."""
        if not self._serves(digest):
            return b""
        try:
            with self._store.path(digest).open("rb") as file:
                file.seek(offset)
                return file.read(length)
        except (StoreError, OSError) as error:
            log.warning("cannot read blob %s: %s", digest, error)
            return b""

    def _serves(self, digest: str) -> bool:
        self.refresh()
        return digest in self._servable

    def refresh(self) -> None:
        """Look whether the store's index has changed. Raises StoreError if it cannot be read."""
        try:
            stat = (self._store.root / "index.json").stat()
        except FileNotFoundError:
            self._servable, self._index_stamp = frozenset(), None
            return
        except OSError as error:
            raise StoreError(f"cannot look at {self._store.root / 'index.json'}: {error.strerror or error}") from error
        stamp = (stat.st_ino, stat.st_mtime_ns)
        if stamp != self._index_stamp:
            self._servable = servable_blobs(self._store)
            self._index_stamp = stamp


def servable_blobs(store: Store) -> frozenset[str]:
    """Digests of everything that belongs to a bundle in the index."""
    digests: set[str] = set()
    entries = [entry for entry in store.index().manifests if entry.media_type == MANIFEST_TYPE]
    for entry in entries:
        if entry.artifact_type == BUNDLE_TYPE and (image := _image(store, entry.digest)) is not None:
            digests.update((entry.digest, image.config.digest, *(layer.digest for layer in image.layers)))
    for entry in entries:
        image = _image(store, entry.digest) if entry.artifact_type == SIGNATURE_TYPE else None
        if image is not None and image.subject is not None and image.subject.digest in digests:
            digests.update(layer.digest for layer in image.layers)
    return frozenset(digests)


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
def serving(store: Store, topics: Topics, url: BrokerUrl) -> Iterator[str]:
    """Serve the store's blobs in a thread for as long as the ``with`` block lasts; -> the source id.

    While the store cannot be read the source is offline, as its presence says, and the reason is logged; it comes back
    by itself.
    """
    source_id = source_id_of(store)
    stopping = threading.Event()
    work = partial(_serve, store, topics, source_id, url, stopping)
    thread = SupervisedThread("the source of blobs", work, stopping=stopping)
    thread.start()
    try:
        yield source_id
    finally:
        stopping.set()
        thread.join()


def _serve(store: Store, topics: Topics, source_id: str, url: BrokerUrl, stopping: threading.Event) -> None:
    source = BlobSource(store, topics, source_id)
    source.refresh()  # before anybody is told that it is there
    presence = SourcePresence.new(topics, source_id)
    inbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
    link = Link(
        url,
        client_id=f"neo-source-{presence.session}",
        subscriptions=[source.topic],
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
                source.accept(event.payload)
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

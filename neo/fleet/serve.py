"""Serving blobs during a push, unless another source of the same store does."""

from __future__ import annotations

import collections

from neo.contract.fields import ContractError
from neo.contract.messages import Presence
from neo.contract.topics import Topics
from neo.fleet.source import BlobSource
from neo.fleet.transport import Publisher
from neo.link import Message
from neo.store import Store


class StandbySource:
    """Answers wants itself until it hears that another source is online, and again when that one is gone.

    max_bytes_per_s: of all that it sends itself, None for no limit.
    """

    def __init__(self, store: Store, topics: Topics, source_id: str, *, max_bytes_per_s: float | None = None) -> None:
        self._source = BlobSource(store, topics, source_id, max_bytes_per_s=max_bytes_per_s)
        self._presence_topic = topics.source(source_id, "presence")
        self._serving = True
        self._held: collections.deque[Message] = collections.deque(maxlen=64)  # what was left to another source

    @property
    def topics(self) -> tuple[str, ...]:
        """What to subscribe to."""
        return self._presence_topic, *self._source.topics

    @property
    def is_serving(self) -> bool:
        return self._serving

    def take(self, message: Message) -> None:
        """What a device wants, or another source's presence; anything else is ignored."""
        if message.topic in self._source.topics:
            if self._serving:
                self._source.accept(message)
            else:
                self._held.append(message)
        elif message.topic == self._presence_topic:
            if not _is_online(message.payload):
                self.take_over()
            elif message.retained:
                self._serving = False

    def take_over(self) -> None:
        """Serve, whatever the other source says of itself."""
        self._serving = True
        while self._held:
            self._source.accept(self._held.popleft())

    def send(self, publisher: Publisher) -> bool:
        """Send the next chunks as long as they are taken; -> is there more?"""
        return self._source.send(publisher)


def _is_online(payload: bytes) -> bool:
    try:
        return Presence.from_bytes(payload).online
    except ContractError:
        return False

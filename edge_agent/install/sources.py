"""The way to the stores that blobs come from."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from edge_agent.install.asking import Ask
from neo.contract.messages import Want
from neo.contract.topics import Topics


class Sources(Protocol):
    """Chunks come back to ``Installer.take_chunk``. Nothing of it blocks."""

    def listen(self, digests: Collection[str]) -> None:
        """Hear what is sent to all who miss something of these blobs, and no others."""

    def ask(self, source: str, ask: Ask) -> None: ...


class Link(Protocol):
    """What is needed of ``neo.link.Link``."""

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1) -> None: ...

    def watch(self, topic: str) -> None: ...

    def unwatch(self, topic: str) -> None: ...


class MqttSources:
    """Over a broker."""

    def __init__(self, link: Link, topics: Topics) -> None:
        self._link = link
        self._topics = topics
        self._listened: frozenset[str] = frozenset()

    def listen(self, digests: Collection[str]) -> None:
        wanted = frozenset(digests)
        for digest in wanted - self._listened:
            self._link.watch(self._topics.blob(digest))
        for digest in self._listened - wanted:
            self._link.unwatch(self._topics.blob(digest))
        self._listened = wanted

    def ask(self, source: str, ask: Ask) -> None:
        topic = self._topics.source(source, "want") if isinstance(ask, Want) else self._topics.missing(source)
        # QoS 0: what is lost is said again anyway, and what waited for a connection would be out of date
        self._link.publish(topic, ask.to_bytes(), qos=0)

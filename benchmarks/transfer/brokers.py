"""The same over a real broker: the source in a process of its own, the devices in another one, which waits for it."""

from __future__ import annotations

import asyncio
import multiprocessing
import queue
import random
import time
from collections.abc import Callable
from multiprocessing.synchronize import Event as Flag
from pathlib import Path
from typing import Any

from benchmarks.transfer.light import LightDevice, Load
from benchmarks.transfer.memory import Losses, Tallied
from benchmarks.transfer.wire import LightClient
from neo.address import BrokerUrl
from neo.contract.messages import Want
from neo.contract.topics import Topics
from neo.fleet.source import BlobSource
from neo.link import Event, Link, Message
from neo.store import Store

CONNECTING = 200  # at a time
TICK_S = 0.05
POLL_S = 0.002


class _Counted:
    """A link that counts, and loses by chance what the broker never sees."""

    def __init__(self, link: Link, lost: float) -> None:
        self._link, self._lost, self._chance = link, lost, random.Random(1)  # noqa: S311 - no secret
        self.bytes, self.messages = 0, 0

    @property
    def backlog(self) -> int:
        return self._link.backlog

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1) -> None:
        self.bytes += len(payload)
        self.messages += 1
        if self._chance.random() >= self._lost:
            self._link.publish(topic, payload, retain=retain, qos=qos)


def _serve(url: BrokerUrl, where: tuple[Path, str], lost: float, flags: tuple[Flag, Flag], counts: Any) -> None:
    (root, source_id), (ready, stop) = where, flags
    inbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
    source = BlobSource(Store(root), Topics(), source_id)
    link = Link(url, client_id="benchmark-source", subscriptions=(), watched=source.topics, inbox=inbox)
    link.connect(10)
    counted = _Counted(link, lost)
    ready.set()
    while not stop.is_set():
        try:
            event: Event | None = inbox.get(timeout=POLL_S)
        except queue.Empty:
            event = None
        while event is not None:
            if isinstance(event, Message):
                source.accept(event)
            event = None if inbox.empty() else inbox.get()
        source.send(counted)
    link.stop()
    counts.put((counted.bytes, counted.messages, time.process_time()))


def over_broker(load: Load, url: BrokerUrl, count: int, losses: Losses, limit_s: float = 300.0) -> Tallied:
    """Bring the bundle to count devices over the broker at url. Time is the wall's, from when all are connected."""
    context = multiprocessing.get_context("spawn")
    ready, stop, counts = context.Event(), context.Event(), context.Queue()
    arguments = (url, (load.store.root, load.assignment.source), losses.to_broker, (ready, stop), counts)
    process = context.Process(target=_serve, args=arguments)
    process.start()
    try:
        ready.wait(60)
        tallied = asyncio.run(_fetch(load, url, count, losses.to_device, limit_s))
        stop.set()
        tallied.bytes_published, tallied.messages, _ = counts.get(timeout=30)
    finally:
        stop.set()
        process.join(30)
    return tallied


class _OverMqtt:
    """One device and its connection."""

    def __init__(self, number: int, load: Load, lost: float) -> None:
        self.device = LightDevice(f"light-{number:05d}", load, time.monotonic())
        self._topics, self._source, self._lost = Topics(), load.assignment.source, lost
        self._chance = random.Random(number)  # noqa: S311 - no secret
        self._listened: frozenset[str] = frozenset()
        self._client: LightClient | None = None

    async def connect(self, url: BrokerUrl) -> None:
        topics = [self._topics.device(self.device.id, "chunk"), self._topics.chunk(self.device.id)]
        make: Callable[[], LightClient] = lambda: LightClient(self.device.id, topics, self._take)  # noqa: E731
        _, self._client = await asyncio.get_running_loop().create_connection(make, url.host, url.port)
        await self._client.ready

    def step(self) -> None:
        client, device = self._client, self.device
        if client is None or device.done_at is not None:
            return
        asks = device.step(time.monotonic())
        if (new := device.expected - self._listened) or self._listened - device.expected:
            if new:
                client.subscribe(map(self._topics.blob, new))
            if old := self._listened - device.expected:
                client.unsubscribe(map(self._topics.blob, old))
            self._listened = device.expected
        for ask in asks:
            is_old = isinstance(ask, Want)
            topic = self._topics.source(self._source, "want") if is_old else self._topics.missing(self._source)
            client.publish(topic, ask.to_bytes())

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _take(self, _topic: str, payload: bytes) -> None:
        if self._chance.random() >= self._lost:
            self.device.take(payload, time.monotonic())
            self.step()


async def _fetch(load: Load, url: BrokerUrl, count: int, lost: float, limit_s: float) -> Tallied:
    devices = [_OverMqtt(number, load, lost) for number in range(count)]
    for start in range(0, count, CONNECTING):
        await asyncio.gather(*(device.connect(url) for device in devices[start : start + CONNECTING]))
    begun = time.monotonic()
    while time.monotonic() - begun < limit_s and any(one.device.done_at is None for one in devices):
        for one in devices:
            one.step()
        await asyncio.sleep(TICK_S)
    done = sum(one.device.done_at is not None for one in devices)
    seconds = max((one.device.done_at or time.monotonic()) for one in devices) - begun
    for one in devices:
        one.close()
    await asyncio.sleep(0.2)
    return Tallied(seconds=seconds, done=done)

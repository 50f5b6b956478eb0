"""Source and devices without a broker: messages are lost by chance, and time is counted, not waited for."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from benchmarks.transfer.light import LightDevice, Load
from neo.contract.messages import Want
from neo.contract.topics import Topics
from neo.fleet.source import BlobSource
from neo.link import Message

TICK_S = 0.01
ROUND_TRIP_S = 0.05  # from a chunk to the answer that it brings about


@dataclass(frozen=True, slots=True)
class Losses:
    """Shares of the chunks: on the way to the broker, and to each device."""

    to_broker: float = 0.0
    to_device: float = 0.0


@dataclass(slots=True)
class Tallied:
    """bytes_published: payloads of the source, also of those that were lost. seconds: of counted time, until all had
    everything.
    """

    bytes_published: int = 0
    messages: int = 0
    seconds: float = 0.0
    done: int = 0


@dataclass(slots=True)
class _Broker:
    """The source's end of the wire."""

    losses: Losses
    chance: random.Random
    tallied: Tallied
    listening: dict[str, list[LightDevice]] = field(default_factory=dict)
    delivered: list[tuple[LightDevice, bytes]] = field(default_factory=list)
    backlog: int = 0

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1) -> None:
        del retain, qos
        self.tallied.bytes_published += len(payload)
        self.tallied.messages += 1
        if self.chance.random() < self.losses.to_broker:
            return
        for device in self.listening.get(topic, ()):
            if self.chance.random() >= self.losses.to_device:
                self.delivered.append((device, payload))


def simulate(
    load: Load,
    count: int,
    losses: Losses,
    *,
    seed: int = 0,
    join_s: float = 1.0,
    bytes_per_s: float = 20e6,
    limit_s: float = 600.0,
) -> Tallied:
    """Bring the bundle to count devices, which come one after the other within join_s."""
    topics, chance, tallied = Topics(), random.Random(seed), Tallied()  # noqa: S311 - no secret
    broker = _Broker(losses, chance, tallied)
    now = 0.0
    source = BlobSource(load.store, topics, load.assignment.source, clock=lambda: now, max_bytes_per_s=bytes_per_s)
    devices: list[LightDevice] = []
    answers: list[tuple[float, Message]] = []
    while now < limit_s and (len(devices) < count or any(device.done_at is None for device in devices)):
        due = min(int(count * now / join_s) + 1, count) if join_s else count
        devices += [LightDevice(f"light-{number:05d}", load, now) for number in range(len(devices), due)]
        for device, payload in broker.delivered:
            device.take(payload, now)
        broker.delivered.clear()
        broker.listening = {topics.chunk(device.id): [device] for device in devices}
        for device in devices:
            if device.done_at is not None:
                continue
            for ask in device.step(now):
                is_old = isinstance(ask, Want)
                topic = (
                    topics.source(load.assignment.source, "want") if is_old else topics.missing(load.assignment.source)
                )
                answers.append((now + ROUND_TRIP_S, Message(topic, ask.to_bytes(), retained=False)))
            for digest in device.expected:
                broker.listening.setdefault(topics.blob(digest), []).append(device)
            broker.listening[topics.device(device.id, "chunk")] = [device]
        while answers and answers[0][0] <= now:
            source.accept(answers.pop(0)[1])
        source.send(broker)
        now += TICK_S
    tallied.seconds = now
    tallied.done = sum(device.done_at is not None for device in devices)
    return tallied

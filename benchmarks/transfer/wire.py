"""The little of MQTT 3.1.1 that a light device needs, in asyncio: a connection costs a few kilobytes."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterable

CONNACK, PUBLISH, SUBACK = 2, 3, 9
KEEPALIVE_S = 600


class LightClient(asyncio.Protocol):
    """on_message: called with (topic, payload). Everything is QoS 0."""

    def __init__(self, client_id: str, topics: Iterable[str], on_message: Callable[[str, bytes], None]) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._client_id = client_id
        self._topics = tuple(topics)
        self._on_message = on_message
        self._unread = bytearray()
        self._transport: asyncio.Transport | None = None

    def publish(self, topic: str, payload: bytes) -> None:
        self._write(b"\x30", _text(topic) + payload)

    def subscribe(self, topics: Iterable[str]) -> None:
        body = b"".join(_text(topic) + b"\0" for topic in topics)
        self._write(b"\x82", b"\0\1" + body)

    def unsubscribe(self, topics: Iterable[str]) -> None:
        self._write(b"\xa2", b"\0\2" + b"".join(_text(topic) for topic in topics))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._write(b"\x10", _text("MQTT") + struct.pack(">BBH", 4, 2, KEEPALIVE_S) + _text(self._client_id))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(f"the broker closed the connection: {exc}"))

    def data_received(self, data: bytes) -> None:
        unread = self._unread
        unread += data
        start = 0
        while (packet := _length(unread, start)) is not None and len(unread) >= sum(packet):
            begin, length = packet
            self._take(unread[start] >> 4, bytes(memoryview(unread)[begin : begin + length]))
            start = begin + length
        del unread[:start]

    def _take(self, kind: int, body: bytes) -> None:
        if kind == PUBLISH:
            end = 2 + int.from_bytes(body[:2], "big")
            self._on_message(body[2:end].decode(), body[end:])
        elif kind == CONNACK:
            self.subscribe(self._topics)
        elif kind == SUBACK and not self.ready.done():
            self.ready.set_result(None)

    def _write(self, head: bytes, body: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(head + _variable(len(body)) + body)


def _text(text: str) -> bytes:
    return struct.pack(">H", len(text.encode())) + text.encode()


def _variable(number: int) -> bytes:
    out = bytearray()
    while True:
        number, low = divmod(number, 128)
        out.append(low | (128 if number else 0))
        if not number:
            return bytes(out)


def _length(data: bytearray, start: int) -> tuple[int, int] | None:
    """-> (where the body begins, its length); None if the header is not here yet."""
    length = shift = 0
    for at in range(start + 1, min(start + 5, len(data))):
        length |= (data[at] & 127) << shift
        shift += 7
        if not data[at] & 128:
            return at + 1, length
    return None

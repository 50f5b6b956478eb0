"""Frames between the agent and its worker: two big-endian 32-bit lengths (header, whole frame), then a frame of
``neo.contract.inference``. The JSON header says what is asked ("op") or what went wrong ("error").
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from neo.contract.fields import ContractError
from neo.contract.inference import MAX_BODY_BYTES, decode_tensors, encode_tensors

Arrays = dict[str, NDArray[Any]]

_LENGTHS = struct.Struct(">II")
MAX_FRAME_BYTES = MAX_BODY_BYTES + (1 << 20)


class Closed(Exception):
    """The other side closed the connection."""


def send_frame(sock: socket.socket, kind: str, tensors: Mapping[str, NDArray[Any]], extra: Mapping[str, Any]) -> None:
    """kind: "inputs" or "outputs". Raises ContractError for a frame that is too large, OSError as the socket does."""
    frame, header_length = encode_tensors(kind, tensors, extra, binary=True)
    if len(frame) > MAX_FRAME_BYTES:
        raise ContractError(f"tensors of {len(frame)} bytes; at most {MAX_FRAME_BYTES} are passed on")
    sock.sendall(_LENGTHS.pack(header_length, len(frame)))
    sock.sendall(frame)


def receive_frame(sock: socket.socket, kind: str, deadline: float | None = None) -> tuple[Arrays, dict[str, Any]]:
    """-> (tensors, header). deadline: on ``time.monotonic``; None waits for ever.

    Raises Closed, TimeoutError, OSError, and ContractError for what is no frame.
    """
    header_length, length = _LENGTHS.unpack(_receive(sock, _LENGTHS.size, deadline))
    if length > MAX_FRAME_BYTES:
        raise ContractError(f"a frame of {length} bytes; at most {MAX_FRAME_BYTES} are read")
    return decode_tensors(kind, _receive(sock, length, deadline), header_length)


def _receive(sock: socket.socket, length: int, deadline: float | None) -> bytes:
    data = bytearray(length)
    view = memoryview(data)
    while view:
        if deadline is not None:
            # 0 would mean non-blocking
            sock.settimeout(max(deadline - time.monotonic(), 1e-3))
        count = sock.recv_into(view)
        if count == 0:
            raise Closed
        if deadline is not None and time.monotonic() > deadline and count < len(view):
            raise TimeoutError
        view = view[count:]
    return bytes(data)

"""Whoever asks whether the device lives, is ready, or what it serves, never waits for predictions. On real sockets."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.serve.http import CONNECTIONS, HttpServer, Listen
from edge_agent.serve.infer import Inference, InferLimits
from edge_agent.worker.client import WorkerLimits
from edge_agent.worker.models import Serving
from tests.edge_agent.devices import SAMPLE
from tests.edge_agent.workers import READY, model_of

HANGS = READY + "time.sleep(600)"
LIMITS = WorkerLimits(predict_s=120, stop_s=0.2)
USUAL = InferLimits()
# far above what an answer takes, far below what a prediction here takes
AT_ONCE_S = 5.0
PATIENT_S = 30.0
ASKED = ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/tiny", "/v2/models/tiny/ready")
BODY = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": SAMPLE.ravel().tolist()}]}
).encode()


class Client(threading.Thread):
    """Asks for one prediction. status: None as long as it waits."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port, self.status, self.words = port, 0, ""
        self.start()

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=100)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("POST", "/v2/models/tiny/infer", BODY)
            reply = connection.getresponse()
            self.words = reply.read().decode()
            self.status = reply.status


@contextmanager
def hanging(folder: Path, limits: InferLimits = USUAL) -> Iterator[int]:
    """-> the port of a server whose model does not end a prediction within the test."""
    serving = Serving()
    model = model_of(HANGS, folder, LIMITS)
    serving.replace(model)
    server = HttpServer(Inference(serving, limits), Listen("127.0.0.1", 0))
    try:
        yield int(server.url.rpartition(":")[2])
    finally:
        model.worker.kill()
        server.stop()
        serving.replace(None)
        model.worker.stop()


def ask(port: int, path: str, timeout_s: float = AT_ONCE_S) -> float:
    """-> seconds until the answer, which must be 200."""
    begun = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    with contextlib.closing(connection):
        connection.request("GET", path)
        reply = connection.getresponse()
        reply.read()
        assert reply.status == 200, path
    return time.monotonic() - begun


def wait_until_all_wait(clients: list[Client]) -> None:
    """Long enough for every client to have sent its request; none is answered meanwhile."""
    time.sleep(1)
    assert [client.status for client in clients] == [0] * len(clients)


def test_health_and_metadata_answer_while_forty_predictions_hang(tmp_path: Path) -> None:
    with hanging(tmp_path) as port:
        clients = [Client(port) for _ in range(40)]
        wait_until_all_wait(clients)
        for path in ASKED:
            assert ask(port, path) < AT_ONCE_S
        # the claim is independence: not one prediction has ended meanwhile
        assert all(client.is_alive() for client in clients)


def test_a_prediction_that_finds_too_many_before_it_is_refused_at_once_and_in_words(tmp_path: Path) -> None:
    with hanging(tmp_path, InferLimits(at_once=2, waiting=3)) as port:
        waiting = [Client(port) for _ in range(5)]
        wait_until_all_wait(waiting)
        late = Client(port)
        late.join(AT_ONCE_S)
        assert late.status == 429
        assert "5 predictions are under way" in late.words
        assert ask(port, "/v2/health/live") < AT_ONCE_S
        assert all(client.is_alive() for client in waiting)


def test_a_prediction_waits_for_others_no_longer_than_its_time(tmp_path: Path) -> None:
    with hanging(tmp_path, InferLimits(at_once=1, waiting=3, wait_s=0.3)) as port:
        clients = [Client(port) for _ in range(4)]
        deadline = time.monotonic() + 10
        while sum(client.status == 429 for client in clients) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert all("waited 0.3 s for others" in client.words for client in clients if client.status)
        assert [client.status for client in clients].count(0) == 1


@pytest.mark.parametrize(("connections", "within_s"), [(40, AT_ONCE_S), (3 * CONNECTIONS, PATIENT_S)])
def test_health_answers_while_clients_send_their_bodies_a_byte_at_a_time(
    tmp_path: Path, connections: int, within_s: float
) -> None:
    """More of them than the server takes at all: those that have waited longest give way."""
    head = b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    with hanging(tmp_path) as port, contextlib.ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 5)) for _ in range(connections)]
        ended = threading.Event()

        def drip() -> None:
            while not ended.is_set():
                for client in slow:
                    with contextlib.suppress(OSError):
                        client.sendall(b" ")
                time.sleep(0.05)

        for client in slow:
            client.sendall(head)
        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            time.sleep(0.5)
            assert ask(port, "/v2/health/live", within_s) < within_s
        finally:
            ended.set()
            dripping.join()


def test_health_answers_while_clients_do_not_read_large_answers(tmp_path: Path) -> None:
    """They ask for several at once and read none: the server cannot write on, and its threads wait with them."""
    program = """
        import numpy as np
        send_frame(sock, "outputs", {}, {"ready": True})
        while True:
            receive_frame(sock, "inputs")
            send_frame(sock, "outputs", {"y": np.zeros((1, 6_000_000), np.float32)}, {})
    """
    header = json.loads(BODY) | {"parameters": {"binary_data_output": True}}
    body = json.dumps(header).encode()
    request = b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    serving = Serving()
    serving.replace(model_of(program, tmp_path))
    server = HttpServer(Inference(serving), Listen("127.0.0.1", 0))
    port = int(server.url.rpartition(":")[2])
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(8):
                stack.enter_context(socket.create_connection(("127.0.0.1", port), 5)).sendall(request * 3)
            time.sleep(2)
            assert ask(port, "/v2/health/live") < AT_ONCE_S
    finally:
        server.stop()
        serving.replace(None)

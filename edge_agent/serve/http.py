"""HTTP to ``infer`` and back: the Open Inference Protocol (V2), REST, JSON and the binary tensor extension.

Health and metadata never wait for predictions: whenever all threads are busy there is one more, and when
connections become scarce the older half of those without a whole request is closed.

Source: https://github.com/kserve/open-inference-protocol, inference_rest.md.
"""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import falcon
import waitress
from falcon import Request, Response
from waitress.task import ThreadedTaskDispatcher

import neo
from edge_agent.serve.infer import Answer, Inference, ModelNotFound, ModelNotLive, TooManyRequests
from edge_agent.worker.client import WorkerUnavailable
from neo.contract.fields import ContractError
from neo.contract.inference import HEADER_LENGTH, InferRequest, decode_request, encode_tensors, spec_to_v2
from neo.contract.labels import labels_by_value
from neo.errors import InputSpecError, NeoError, UsageError

MAX_BODY_BYTES = 64 << 20
MAX_JSON_BYTES = 16 << 20  # Python's objects take ten times what the text does
CONNECTIONS = 100  # and up to as many threads: a request never waits for one
SPARE_CONNECTIONS = 10  # kept free by closing connections that have not asked for anything yet
MAKE_ROOM_EVERY_S = 0.5
SILENT_CLIENT_S = 30  # then the connection is closed; a prediction under way does not count
STOP_S = 2.0


@dataclass(frozen=True, slots=True)
class Listen:
    """Either host and port (0: any free one), or the path of a Unix socket."""

    host: str = "127.0.0.1"
    port: int = 8080
    path: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Listen:
        """'127.0.0.1:8080', '[::1]:8080' or 'unix:/run/neo.sock'. Raises UsageError."""
        if text.startswith("unix:/"):
            return cls(path=Path(text.removeprefix("unix:")))
        host, _, port = text.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise UsageError(
                f"cannot listen at {text!r}", hint="write --listen 127.0.0.1:8080, or --listen unix:/run/neo.sock"
            )
        return cls(host.strip("[]"), int(port))


class _ThreadForEach(ThreadedTaskDispatcher):  # type: ignore[misc]  # waitress has no types
    """Never lets a request wait for a thread: starts one more when all are busy. Waitress's own number is fixed, and
    its threads take turns, so that a large one keeps none of their stacks in the processor's cache.
    """

    def __init__(self) -> None:
        super().__init__()
        self._adding = threading.Lock()

    def add_task(self, task: Any) -> None:
        with self._adding:
            with self.lock:
                running = len(self.threads) - self.stop_count
                has_idle = running - self.active_count > len(self.queue)
            if not has_idle and running < CONNECTIONS:
                self.set_thread_count(running + 1)
            super().add_task(task)


class HttpServer:
    """Listens from the moment it is made; ``url`` has the port that was really bound. Raises UsageError."""

    def __init__(self, inference: Inference, listen: Listen) -> None:
        sock = _bind(listen)
        self._server = waitress.create_server(
            make_app(inference),
            sockets=[sock],
            _dispatcher=_ThreadForEach(),
            connection_limit=CONNECTIONS,
            ident=None,
            channel_timeout=SILENT_CLIENT_S,
            cleanup_interval=SILENT_CLIENT_S // 3,
            clear_untrusted_proxy_headers=True,
            # the app refuses a body at half of it, in JSON; this is the net below
            max_request_body_size=2 * MAX_BODY_BYTES,
        )
        self._path = listen.path
        self.url = f"unix:{listen.path}" if listen.path is not None else _url(listen.host, sock.getsockname()[1])
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._room = threading.Thread(target=self._make_room, name="http-room", daemon=True)
        self._thread.start()
        self._room.start()

    def stop(self) -> None:
        self._stopped.set()
        self._room.join(STOP_S)
        self._server.close()
        self._server.task_dispatcher.shutdown()
        self._thread.join(STOP_S)
        for channel in list(self._server.active_channels.values()):
            channel.handle_close()  # clients that keep their connection open
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        try:
            self._server.run()
        except OSError:
            if not self._stopped.is_set():  # else closed by stop()
                raise
        if not self._stopped.is_set():
            raise RuntimeError("the server ended although nobody stopped it")

    def _make_room(self) -> None:
        """A body that comes a byte at a time would hold its connection for ever: waitress closes silent ones only."""
        while not self._stopped.wait(MAKE_ROOM_EVERY_S):
            channels = list(self._server.active_channels.values())
            if len(channels) > CONNECTIONS - SPARE_CONNECTIONS:
                unasked = [channel for channel in channels if not channel.requests]
                unasked.sort(key=lambda channel: channel.creation_time)
                for channel in unasked[: -(-len(unasked) // 2)]:
                    channel.will_close = True
                self._server.pull_trigger()


def make_app(inference: Inference, max_body_bytes: int = MAX_BODY_BYTES) -> falcon.App[Request, Response]:
    app = falcon.App()
    app.set_error_serializer(_serialize_error)
    app.add_error_handler(NeoError, _neo_error)
    app.add_route("/v2", _Server())
    health = _Health(inference)
    app.add_route("/v2/health/live", health, suffix="live")
    app.add_route("/v2/health/ready", health, suffix="ready")
    models = _Models(inference, max_body_bytes)
    for prefix in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        app.add_route(prefix, models)
        app.add_route(f"{prefix}/ready", models, suffix="ready")
        app.add_route(f"{prefix}/infer", models, suffix="infer")
    return app


class _Server:
    def on_get(self, _req: Request, resp: Response) -> None:
        resp.media = {"name": "neo-edge", "version": neo.__version__, "extensions": ["binary_tensor_data"]}


class _Health:
    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    def on_get_live(self, _req: Request, resp: Response) -> None:
        resp.media = {"live": True}

    def on_get_ready(self, _req: Request, resp: Response) -> None:
        ready = self._inference.ready
        resp.media = {"ready": ready}
        resp.status = falcon.HTTP_200 if ready else falcon.HTTP_503


class _Models:
    def __init__(self, inference: Inference, max_body_bytes: int) -> None:
        self._inference = inference
        self._max_body_bytes = max_body_bytes
        self._decoding = threading.Lock()  # one at a time: it takes far more memory than what comes of it

    def on_get(self, _req: Request, resp: Response, name: str, version: str | None = None) -> None:
        manifest = self._inference.find(name, version)
        resp.media = {
            "name": manifest.name,
            "versions": [manifest.version],
            "platform": manifest.engine,
            "inputs": [spec_to_v2(spec) for spec in manifest.inputs],
            "outputs": [spec_to_v2(spec, manifest.labels) for spec in manifest.outputs],
        }

    def on_get_ready(self, _req: Request, resp: Response, name: str, version: str | None = None) -> None:
        self._inference.find(name, version)
        resp.media = {"name": name, "ready": True}

    def on_post_infer(self, req: Request, resp: Response, name: str, version: str | None = None) -> None:
        self._check_length(req)
        self._inference.find(name, version)
        with self._inference.turn:
            request = self._decode(req.bounded_stream.read(), _header_length(req))
            answer = self._inference.infer(name, version, request.inputs, request.outputs)
            data, header_length = _encode(answer, request)
        resp.data = data
        resp.content_type = "application/octet-stream" if request.binary else falcon.MEDIA_JSON
        if request.binary:
            resp.set_header(HEADER_LENGTH, str(header_length))

    def _decode(self, body: bytes, header_length: int | None) -> InferRequest:
        json_bytes = len(body) if header_length is None else header_length
        if json_bytes > MAX_JSON_BYTES:
            raise falcon.HTTPContentTooLarge(
                title=f"{json_bytes} bytes of JSON; at most {MAX_JSON_BYTES} are read; send the tensors as binary data"
            )
        with self._decoding:
            return decode_request(body, header_length)

    def _check_length(self, req: Request) -> None:
        length = req.content_length or 0
        if length > self._max_body_bytes:
            raise falcon.HTTPContentTooLarge(
                title=f"a request of {length} bytes; at most {self._max_body_bytes} are read"
            )


def _encode(answer: Answer, request: InferRequest) -> tuple[bytes, int]:
    """-> (body, length of its JSON header)."""
    manifest = answer.manifest
    extra = {"model_name": manifest.name, "model_version": manifest.version}
    if request.id:
        extra["id"] = request.id
    labels = labels_by_value(manifest.labels)
    return encode_tensors("outputs", answer.outputs, extra, binary=request.binary, labels=labels)


def _header_length(req: Request) -> int | None:
    text = req.get_header(HEADER_LENGTH)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise ContractError(f"{HEADER_LENGTH} is {text[:40]!r}, not a number of bytes")
    return int(text)


def _neo_error(_req: Request, _resp: Response, error: NeoError, _params: dict[str, Any]) -> None:
    text = f"{error.message}; {error.hint}" if error.hint else error.message
    if isinstance(error, ContractError | InputSpecError):
        raise falcon.HTTPBadRequest(title=text) from error
    if isinstance(error, ModelNotFound):
        raise falcon.HTTPNotFound(title=text) from error
    if isinstance(error, TooManyRequests):
        raise falcon.HTTPTooManyRequests(title=text, retry_after=1) from error
    if isinstance(error, ModelNotLive | WorkerUnavailable):
        # it is started, or started again: the next request may be answered
        raise falcon.HTTPServiceUnavailable(title=text, retry_after=1) from error
    # the same request would fail again
    raise falcon.HTTPInternalServerError(title=text) from error


def _serialize_error(_req: Request, resp: Response, error: falcon.HTTPError) -> None:
    resp.data = json.dumps({"error": error.title or error.status}).encode()
    resp.content_type = falcon.MEDIA_JSON


def _bind(listen: Listen) -> socket.socket:
    """Raises UsageError. Not left to waitress, which leaks the socket when it cannot be bound."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    sock = socket.socket(socket.AF_UNIX if listen.path is not None else family)
    try:
        if listen.path is not None:
            # a socket file that a killed agent left; two agents cannot meet here, the state folder is locked
            if listen.path.is_socket():
                listen.path.unlink()
            sock.bind(str(listen.path))
            listen.path.chmod(0o660)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((listen.host, listen.port))
    except OSError as error:
        sock.close()
        where = f"unix:{listen.path}" if listen.path is not None else f"{listen.host}:{listen.port}"
        raise UsageError(
            f"cannot listen at {where}: {error.strerror or error}",
            hint="choose another place with --listen, e.g. 127.0.0.1:0 for any free port",
        ) from error
    return sock


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

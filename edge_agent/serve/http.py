"""Predictions over HTTP: the Open Inference Protocol (V2), REST, JSON and the binary tensor extension.

Source: https://github.com/kserve/open-inference-protocol, inference_rest.md.
"""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import falcon
import waitress
from falcon import Request, Response

import neo
from edge_agent.models import Model, Serving
from neo.contract.fields import ContractError
from neo.contract.inference import (
    HEADER_LENGTH,
    InferRequest,
    check_inputs,
    decode_request,
    encode_tensors,
    spec_to_v2,
)
from neo.contract.labels import labels_by_value
from neo.errors import EngineError, InputSpecError, NeoError, UsageError

MAX_BODY_BYTES = 64 << 20
MAX_JSON_BYTES = 16 << 20  # Python's objects take ten times what the text does
THREADS = 4
SILENT_CLIENT_S = 30  # then the connection is closed; a prediction under way does not count
STOP_S = 2.0
NOT_READY = "no model is live on this device yet; push one with: neo push REF --to DEVICE"


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


class HttpServer:
    """Listens from the moment it is made; ``url`` has the port that was really bound. Raises UsageError."""

    def __init__(self, serving: Serving, listen: Listen) -> None:
        sock = _bind(listen)
        self._server = waitress.create_server(
            make_app(serving),
            sockets=[sock],
            threads=THREADS,
            ident=None,
            channel_timeout=SILENT_CLIENT_S,
            cleanup_interval=SILENT_CLIENT_S // 3,
            clear_untrusted_proxy_headers=True,
            # the app refuses a body at half of it, in JSON; this is the net below
            max_request_body_size=2 * MAX_BODY_BYTES,
        )
        self._path = listen.path
        self.url = f"unix:{listen.path}" if listen.path is not None else _url(listen.host, sock.getsockname()[1])
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.close()
        self._server.task_dispatcher.shutdown()
        self._thread.join(STOP_S)
        for channel in list(self._server.active_channels.values()):
            channel.handle_close()  # clients that keep their connection open
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        with suppress(OSError):  # closed by stop()
            self._server.run()


def make_app(serving: Serving, max_body_bytes: int = MAX_BODY_BYTES) -> falcon.App[Request, Response]:
    app = falcon.App()
    app.set_error_serializer(_serialize_error)
    app.add_error_handler(NeoError, _neo_error)
    app.add_route("/v2", _Server())
    health = _Health(serving)
    app.add_route("/v2/health/live", health, suffix="live")
    app.add_route("/v2/health/ready", health, suffix="ready")
    models = _Models(serving, max_body_bytes)
    for prefix in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        app.add_route(prefix, models)
        app.add_route(f"{prefix}/ready", models, suffix="ready")
        app.add_route(f"{prefix}/infer", models, suffix="infer")
    return app


class _Server:
    def on_get(self, _req: Request, resp: Response) -> None:
        resp.media = {"name": "neo-edge", "version": neo.__version__, "extensions": ["binary_tensor_data"]}


class _Health:
    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    def on_get_live(self, _req: Request, resp: Response) -> None:
        resp.media = {"live": True}

    def on_get_ready(self, _req: Request, resp: Response) -> None:
        ready = self._serving.model is not None
        resp.media = {"ready": ready}
        resp.status = falcon.HTTP_200 if ready else falcon.HTTP_503


class _Models:
    def __init__(self, serving: Serving, max_body_bytes: int) -> None:
        self._serving = serving
        self._max_body_bytes = max_body_bytes
        self._decoding = threading.Lock()  # one at a time: it takes far more memory than what comes of it

    def on_get(self, _req: Request, resp: Response, name: str, version: str | None = None) -> None:
        manifest = _named(self._serving.model, name, version).slot.manifest
        resp.media = {
            "name": manifest.name,
            "versions": [manifest.version],
            "platform": manifest.engine,
            "inputs": [spec_to_v2(spec) for spec in manifest.inputs],
            "outputs": [spec_to_v2(spec, manifest.labels) for spec in manifest.outputs],
        }

    def on_get_ready(self, _req: Request, resp: Response, name: str, version: str | None = None) -> None:
        _named(self._serving.model, name, version)
        resp.media = {"name": name, "ready": True}

    def on_post_infer(self, req: Request, resp: Response, name: str, version: str | None = None) -> None:
        body = self._read_body(req)
        with self._serving.lease() as leased:
            model = _named(leased, name, version)
            request = self._decode(body, _header_length(req))
            manifest = model.slot.manifest
            check_inputs(manifest.inputs, request.inputs)
            _check_outputs(request, [spec.name for spec in manifest.outputs])
            outputs = model.worker.predict(request.inputs)
        wanted = {key: outputs[key] for key in request.outputs or outputs}
        extra = {"model_name": manifest.name, "model_version": manifest.version}
        if request.id:
            extra["id"] = request.id
        data, header_length = encode_tensors(
            "outputs", wanted, extra, binary=request.binary, labels=labels_by_value(manifest.labels)
        )
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

    def _read_body(self, req: Request) -> bytes:
        length = req.content_length or 0
        if length > self._max_body_bytes:
            raise falcon.HTTPContentTooLarge(
                title=f"a request of {length} bytes; at most {self._max_body_bytes} are read"
            )
        body: bytes = req.bounded_stream.read()
        return body


def _named(model: Model | None, name: str, version: str | None) -> Model:
    """The live model if it is the one asked for; 503 if there is none, 404 if it is another."""
    if model is None:
        raise falcon.HTTPServiceUnavailable(title=NOT_READY, retry_after=1)
    manifest = model.slot.manifest
    if name != manifest.name or version not in (None, manifest.version):
        asked = name if version is None else f"{name} version {version}"
        raise falcon.HTTPNotFound(
            title=f"model {asked[:200]} is not here; live is {manifest.name} version {manifest.version}"
        )
    return model


def _check_outputs(request: InferRequest, names: list[str]) -> None:
    unknown = [name for name in request.outputs if name not in names]
    if unknown:
        raise ContractError(f"the model has no output {unknown[0][:200]!r}; it has {', '.join(map(repr, names))}")


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
    if isinstance(error, EngineError):
        # the worker died or is overrun; it is started again, and the next request may be answered
        raise falcon.HTTPServiceUnavailable(title=text, retry_after=1) from error
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

"""The V2 protocol, on the app and on real sockets, in front of a real worker."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from falcon import testing

from edge_agent.serve.http import MAX_JSON_BYTES, HttpServer, Listen, make_app
from edge_agent.serve.infer import Inference
from edge_agent.worker.client import Worker, WorkerLimits
from edge_agent.worker.models import Model, Serving, Slot
from neo.contract.inference import HEADER_LENGTH, decode_tensors, encode_tensors
from neo.contract.labels import OutputLabels
from neo.contract.messages import Assignment
from neo.contract.oci import Descriptor
from neo.errors import EngineError, UsageError
from tests.edge_agent.devices import SAMPLE, answer_of, http_json, make_manifest, write_engine
from tests.edge_agent.workers import model_of

BLOB = Descriptor("a/b", "sha256:" + "1" * 64, 1)


def make_model(folder: Path, version: str = "1") -> Model:
    write_engine(folder / "engine", version)
    manifest = make_manifest(version)
    (folder / "manifest.json").write_bytes(manifest.to_bytes())
    worker = Worker(folder, 1, WorkerLimits(), lambda _: None)
    assignment = Assignment("a", manifest.reference, BLOB, BLOB, "s", 1.0)
    return Model(Slot(folder, BLOB.digest, assignment, manifest), worker)


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    serving = Serving()
    serving.replace(make_model(tmp_path_factory.mktemp("model")))
    yield serving
    serving.replace(None)


@pytest.fixture
def client(serving: Serving) -> testing.TestClient:
    return testing.TestClient(make_app(Inference(serving), max_body_bytes=10_000))


def body(x: np.ndarray = SAMPLE, **extra: Any) -> dict[str, Any]:
    shape = list(x.shape)
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": shape, "data": x.ravel().tolist()}], **extra}


def test_health_and_metadata(client: testing.TestClient) -> None:
    assert client.simulate_get("/v2").json["extensions"] == ["binary_tensor_data"]
    assert client.simulate_get("/v2/health/live").json == {"live": True}
    assert client.simulate_get("/v2/health/ready").json == {"ready": True}
    assert client.simulate_get("/v2/models/tiny/ready").json == {"name": "tiny", "ready": True}
    about = client.simulate_get("/v2/models/tiny/versions/1").json
    assert about == {
        "name": "tiny",
        "versions": ["1"],
        "platform": "onnxruntime",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 3]}],
    }


def test_a_json_request_is_answered_in_json(client: testing.TestClient) -> None:
    reply = client.simulate_post("/v2/models/tiny/infer", json=body(id="42"))
    assert reply.status_code == 200
    assert (reply.json["model_name"], reply.json["model_version"], reply.json["id"]) == ("tiny", "1", "42")
    (output,) = reply.json["outputs"]
    assert output["shape"] == [1, 3]
    assert np.allclose(output["data"], answer_of("1").ravel())


def test_a_binary_request_is_answered_in_binary(client: testing.TestClient) -> None:
    extra = {"parameters": {"binary_data_output": True}}
    data, length = encode_tensors("inputs", {"x": SAMPLE}, extra, binary=True)
    reply = client.simulate_post("/v2/models/tiny/infer", body=data, headers={HEADER_LENGTH: str(length)})
    assert reply.headers["content-type"] == "application/octet-stream"
    arrays, _ = decode_tensors("outputs", reply.content, int(reply.headers[HEADER_LENGTH]))
    assert np.array_equal(arrays["y"], answer_of("1")) or np.allclose(arrays["y"], answer_of("1"))


def test_an_answer_says_what_its_classes_are_called(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    labels = (OutputLabels("y", "value", ("a", "b")), OutputLabels("y", "position", ("p", "q", "r")))
    for entry, expected in zip(labels, ([None] * 3, None), strict=True):
        serving = Serving()
        serving.replace(
            replace(model, slot=replace(model.slot, manifest=replace(model.slot.manifest, labels=(entry,))))
        )
        client = testing.TestClient(make_app(Inference(serving)))
        about = client.simulate_get("/v2/models/tiny").json
        assert about["outputs"][0]["parameters"] == {"labels": list(entry.texts), "labels_by": entry.by}
        (output,) = client.simulate_post("/v2/models/tiny/infer", json=body()).json["outputs"]
        assert output.get("parameters", {}).get("labels") == expected  # float outputs have no class numbers
    model.worker.stop()


@pytest.mark.parametrize(
    ("path", "data", "headers", "complaint"),
    [
        ("/v2/models/tiny/infer", b"{", {}, (400, "not JSON")),
        ("/v2/models/tiny/infer", b"{}", {}, (400, "inputs")),
        ("/v2/models/tiny/infer", b"", {}, (400, "not JSON")),
        ("/v2/models/tiny/infer", b"{}", {HEADER_LENGTH: "-1"}, (400, HEADER_LENGTH)),
        ("/v2/models/tiny/infer", b"{}", {HEADER_LENGTH: "99"}, (400, HEADER_LENGTH)),
        ("/v2/models/tiny/infer", json.dumps(body(SAMPLE.reshape(4, 1))).encode(), {}, (400, "wants float32")),
        ("/v2/models/tiny/infer", json.dumps(body(outputs=[{"name": "q"}])).encode(), {}, (400, "no output 'q'")),
        ("/v2/models/tiny/infer", b" " * 10_001, {}, (413, "at most 10000")),
        ("/v2/models/other/infer", json.dumps(body()).encode(), {}, (404, "live is tiny")),
        ("/v2/models/tiny/versions/2/infer", json.dumps(body()).encode(), {}, (404, "version 2")),
        ("/v1/nothing", b"", {}, (404, "404")),
    ],
)
def test_what_is_wrong_is_said_as_json(
    client: testing.TestClient, path: str, data: bytes, headers: dict[str, str], complaint: tuple[int, str]
) -> None:
    reply = client.simulate_post(path, body=data, headers=headers)
    status, words = complaint
    assert reply.status_code == status
    assert list(reply.json) == ["error"]
    assert words in reply.json["error"]


def test_without_a_model_it_is_alive_but_not_ready() -> None:
    client = testing.TestClient(make_app(Inference(Serving())))
    assert client.simulate_get("/v2/health/live").status_code == 200
    assert client.simulate_get("/v2/health/ready").status_code == 503
    reply = client.simulate_post("/v2/models/tiny/infer", json=body())
    assert reply.status_code == 503
    assert "neo push" in reply.json["error"]


def test_a_dead_worker_is_service_unavailable_and_not_a_hang(tmp_path: Path) -> None:
    serving = Serving()
    model = make_model(tmp_path)
    serving.replace(model)
    model.worker.kill()
    reply = testing.TestClient(make_app(Inference(serving))).simulate_post("/v2/models/tiny/infer", json=body())
    assert reply.status_code == 503
    assert "killed by signal SIGKILL" in reply.json["error"]
    serving.replace(None)


@pytest.mark.parametrize(
    "failure", ["EngineError('Div: no such number')", "ContractError('tensors of 9 bytes')", "ValueError('odd')"]
)
def test_a_model_that_fails_for_an_input_is_an_internal_error_with_its_reason_and_is_counted(
    tmp_path: Path, failure: str
) -> None:
    """Not 503: that asks the client to send the same again, for ever."""
    program = f"""
        from edge_agent.worker.process import _answer
        from neo.contract.fields import ContractError
        from neo.errors import EngineError
        class Broken:
            def predict(self, inputs):
                raise {failure}
        send_frame(sock, "outputs", {{}}, {{"ready": True}})
        while True:
            _answer(sock, Broken(), None, *receive_frame(sock, "inputs"))
    """
    serving = Serving()
    model = model_of(program, tmp_path)
    serving.replace(model)
    client = testing.TestClient(make_app(Inference(serving)))
    for count in (1, 2):
        reply = client.simulate_post("/v2/models/tiny/infer", json=body())
        assert reply.status_code == 500
        assert "retry-after" not in reply.headers
        assert failure.split("'")[1] in reply.json["error"]
        assert model.tally.counts == (0, count)
    assert isinstance(model.tally.last_failure, EngineError)
    assert client.simulate_post("/v2/models/tiny/infer", json=body(SAMPLE.T)).status_code == 400
    assert model.tally.counts == (0, 2)
    serving.replace(None)


def test_a_request_under_way_is_finished_by_the_old_model_after_a_switch(tmp_path: Path) -> None:
    serving = Serving()
    old, new = make_model(tmp_path / "old", "1"), make_model(tmp_path / "new", "2")
    serving.replace(old)
    with serving.lease() as leased:
        serving.replace(new)
        assert leased is old
        assert np.allclose(old.worker.predict({"x": SAMPLE})["y"], answer_of("1"))
        with serving.lease() as other:
            assert other is new
    assert not Path(f"/proc/{old.worker.pid}").exists()
    assert np.allclose(new.worker.predict({"x": SAMPLE})["y"], answer_of("2"))
    serving.replace(None)


def test_a_free_port_is_found_and_requests_come_in_parallel(serving: Serving) -> None:
    server = HttpServer(Inference(serving), Listen("127.0.0.1", 0))
    try:
        replies: list[dict[str, Any]] = []
        url = f"{server.url}/v2/models/tiny/infer"
        threads = [threading.Thread(target=lambda: replies.append(http_json(url, body()))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(replies) == 8
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(UsageError, match="cannot listen at"):
            HttpServer(Inference(serving), Listen("127.0.0.1", port))
    finally:
        server.stop()


def test_a_unix_socket_is_served_and_removed(serving: Serving, tmp_path: Path) -> None:
    path = tmp_path / "neo.sock"
    server = HttpServer(Inference(serving), Listen(path=path))
    assert server.url == f"unix:{path}"
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(path))
    connection.request("GET", "/v2/health/ready")
    assert json.loads(connection.getresponse().read()) == {"ready": True}
    connection.close()
    server.stop()
    assert not path.exists()


def test_json_that_would_fill_the_memory_is_refused_and_the_same_size_in_binary_is_not(serving: Serving) -> None:
    client = testing.TestClient(make_app(Inference(serving)))
    text = b" " * (MAX_JSON_BYTES + 1)
    assert client.simulate_post("/v2/models/tiny/infer", body=text).status_code == 413
    header = {HEADER_LENGTH: str(len(text))}
    reply = client.simulate_post("/v2/models/tiny/infer", body=text, headers=header)
    assert (reply.status_code, "as binary data" in reply.json["error"]) == (413, True)
    x = np.zeros((1, MAX_JSON_BYTES // 4 + 1), np.float32)
    frame, length = encode_tensors("inputs", {"x": x}, {}, binary=True)
    reply = client.simulate_post("/v2/models/tiny/infer", body=frame, headers={HEADER_LENGTH: str(length)})
    assert (reply.status_code, "wants float32 [1, 4]" in reply.json["error"]) == (400, True)

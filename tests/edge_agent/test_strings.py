"""A model of words on a device: pushed over a real broker, asked over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from falcon import testing
from securesystemslib.signer import CryptoSigner

from edge_agent.serve.http import make_app
from edge_agent.serve.infer import Inference
from edge_agent.worker.client import Worker, WorkerLimits
from edge_agent.worker.models import Model, Serving, Slot
from neo.compiler.pipeline import run
from neo.compiler.request import CompileRequest
from neo.contract import strings
from neo.contract.inference import HEADER_LENGTH, decode_tensors, encode_tensors
from neo.contract.manifest import CONFIG_PATH, GOLDEN_INPUTS_PATH, GOLDEN_OUTPUTS_PATH
from neo.contract.messages import Assignment
from neo.contract.oci import Descriptor
from neo.runtime import load
from neo.runtime.golden import read_golden, self_test
from neo.store import Store
from neo.store.bundles import Bundle, unpack_bundle
from tests.edge_agent.devices import http_json, sign_bundle
from tests.edge_agent.site import Site
from tests.models import colours

WORDS = np.array([["red", "mauve"]], object)
BODY = {"inputs": [{"name": "words", "datatype": "BYTES", "shape": [1, 2], "data": ["red", "mauve"]}]}
BLOB = Descriptor("a/b", "sha256:" + "1" * 64, 1)


def compiled(store: Store, folder: Path) -> Bundle:
    (found,) = run(CompileRequest(colours(folder / "colours.onnx"), store, None))
    return found.bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked bundle, as `neo compile` makes it."""
    folder = tmp_path_factory.mktemp("words")
    store = Store(folder / "store")
    unpack_bundle(store, compiled(store, folder), folder / "bundle")
    return folder / "bundle"


@pytest.fixture(scope="module")
def client(folder: Path) -> Any:
    predictor = load(folder, 1)
    manifest = predictor.manifest
    predictor.close()
    serving = Serving()
    assignment = Assignment("a", manifest.reference, BLOB, BLOB, "s", 1.0)
    worker = Worker(folder, 1, WorkerLimits(), lambda _: None)
    serving.replace(Model(Slot(folder, BLOB.digest, assignment, manifest), worker))
    yield testing.TestClient(make_app(Inference(serving)))
    serving.replace(None)


def test_the_bundle_holds_its_golden_words_without_pickles_and_tests_itself(folder: Path) -> None:
    for file in (GOLDEN_INPUTS_PATH, GOLDEN_OUTPUTS_PATH):
        with np.load(folder / file, allow_pickle=False) as archive:
            assert archive.files
            assert all(archive[name].dtype.kind in "biuf" for name in archive.files)
    (inputs, outputs), *_ = read_golden(folder)
    assert set(inputs["words"].ravel()) <= {"red", "green"}
    assert set(outputs["opposite"].ravel()) <= {"red", "green"}
    predictor = load(folder, 1)
    assert self_test(predictor, folder).max_abs == 0.0
    assert predictor.predict({"words": WORDS.astype(str)})["opposite"].tolist() == [["green", "?"]]
    predictor.close()
    assert '"dtype":"string"' in (folder / CONFIG_PATH).read_text()


def test_words_in_json_are_answered_in_json(client: testing.TestClient) -> None:
    about = client.simulate_get("/v2/models/colours").json
    assert about["platform"] == "onnxruntime"
    assert about["inputs"] == [{"name": "words", "datatype": "BYTES", "shape": [1, 2]}]
    reply = client.simulate_post("/v2/models/colours/infer", json=BODY)
    assert reply.status_code == 200, reply.text
    outputs = {output["name"]: output for output in reply.json["outputs"]}
    assert outputs["number"]["data"] == [0, 9]
    assert (outputs["opposite"]["datatype"], outputs["opposite"]["data"]) == ("BYTES", ["green", "?"])


def test_words_as_bytes_are_answered_in_bytes(client: testing.TestClient) -> None:
    extra = {"parameters": {"binary_data_output": True}}
    frame, length = encode_tensors("inputs", {"words": WORDS}, extra, binary=True)
    reply = client.simulate_post("/v2/models/colours/infer", body=frame, headers={HEADER_LENGTH: str(length)})
    outputs, _ = decode_tensors("outputs", reply.content, int(reply.headers[HEADER_LENGTH]))
    assert outputs["opposite"].tolist() == [["green", "?"]]


def test_numbers_for_words_and_more_words_than_a_device_takes_are_bad_requests(
    client: testing.TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = {"inputs": [{"name": "words", "datatype": "INT64", "shape": [1, 2], "data": [1, 2]}]}
    reply = client.simulate_post("/v2/models/colours/infer", json=numbers)
    assert reply.status_code == 400
    assert "wants string [1, 2], got int64 [1, 2]" in reply.json["error"]
    monkeypatch.setattr(strings, "MAX_FRAME_STRINGS", 1)
    reply = client.simulate_post("/v2/models/colours/infer", json=BODY)
    assert reply.status_code == 400
    assert "more than 1 strings" in reply.json["error"]


@pytest.mark.slow
def test_a_pushed_model_of_words_answers(site: Site, signer: CryptoSigner, tmp_path: Path) -> None:
    agent = site.start()
    bundle = compiled(site.operator.store, tmp_path)
    assignment = site.operator.push(bundle, sign_bundle(site.operator.store, bundle, signer))
    assert site.operator.wait_for_end(assignment).phase == "active"
    answer = http_json(f"{agent.url}/v2/models/colours/infer", BODY)
    assert {output["name"]: output["data"] for output in answer["outputs"]} == {
        "number": [0, 9],
        "opposite": ["green", "?"],
    }

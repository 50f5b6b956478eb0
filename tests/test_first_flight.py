"""Every kind of model file goes the whole way: from the file to a prediction on an agent, over a real broker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import neo
from neo.compiler.pipeline import run
from neo.compiler.request import CompileRequest
from neo.compiler.result import CompiledBundle
from neo.contract.parity import compare
from neo.contract.tensors import TensorSpec
from neo.demo.processes import DEVICE_ID, start_agent, start_broker
from neo.demo.run import ask_device
from neo.demo.train import MXNET_MODEL
from neo.fleet.push import PushRequest, push
from neo.link import BrokerUrl
from neo.runtime.golden import read_golden
from neo.store import Store
from neo.store.bundles import unpack_bundle
from neo.trust import generate_key, load_signer
from neo.trust.keys import public_path
from tests.frontends.conftest import keras_models, torch_models  # noqa: F401  fixtures
from tests.models import classifier

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Site:
    """A broker, an agent and the operator's store and key."""

    folder: Path
    store: Store
    key: Path
    broker: BrokerUrl
    device_url: str


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    key = folder / "operator.key"
    generate_key(key)
    broker, broker_url = start_broker(folder)
    try:
        agent, device_url = start_agent(folder, broker_url, public_path(key))
        try:
            yield Site(folder, Store(folder / "store"), key, BrokerUrl.parse(broker_url), device_url)
        finally:
            agent.stop()
    finally:
        broker.stop()


def fly(site: Site, compiled: CompiledBundle, folder: Path) -> None:
    """Push, then hold the device's answer against the source framework's."""
    request = PushRequest(devices=(DEVICE_ID,), timeout_s=90, force=True)
    push(compiled.bundle, request, store=site.store, url=site.broker).raise_failures()
    unpack_bundle(site.store, compiled.bundle, folder / "bundle")
    for inputs, outputs in read_golden(folder / "bundle"):
        (x,) = inputs.values()
        (name,) = outputs
        answer = ask_device(site.device_url, compiled, x)
        assert compare(outputs, {name: answer}).max_rel <= 1e-4


TORCH_INPUT = TensorSpec("image", "float32", (1, 3, 8, 8))


@pytest.mark.parametrize(
    ("fixture", "file", "inputs", "source"),
    [
        ("torch_models", "classifier.pt2", (), "pytorch"),
        ("torch_models", "scripted.pt", (TORCH_INPUT,), "pytorch"),
        ("keras_models", "classifier.keras", (), "keras"),
        ("keras_models", "classifier.h5", (), "keras"),
        ("keras_models", "classifier", (), "tensorflow"),
    ],
)
def test_a_framework_file_becomes_a_prediction_on_a_device(
    site: Site,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    fixture: str,
    file: str,
    inputs: tuple[TensorSpec, ...],
    source: str,
) -> None:
    model = request.getfixturevalue(fixture) / file
    (compiled,) = run(CompileRequest(model, site.store, load_signer(site.key), inputs=inputs))
    assert compiled.bundle.manifest.source.startswith(source)
    assert compiled.parity is not None
    assert compiled.parity.max_rel <= 1e-4
    fly(site, compiled, tmp_path)


def test_an_onnx_file_becomes_a_prediction_on_a_device(site: Site, tmp_path: Path) -> None:
    model = classifier(tmp_path / "net.onnx")
    (compiled,) = run(CompileRequest(model, site.store, load_signer(site.key)))
    fly(site, compiled, tmp_path)


def test_an_mxnet_file_becomes_a_prediction_on_a_device(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NEO_MXNET_PYTHON", raising=False)  # as on a machine without MXNet
    inputs = (TensorSpec("data", "float32", (1, 1, 8, 8)),)
    model = MXNET_MODEL / "digits-symbol.json"
    (compiled,) = run(CompileRequest(model, site.store, load_signer(site.key), inputs=inputs))
    fly(site, compiled, tmp_path)


def test_a_module_in_memory_becomes_a_prediction_on_a_device(site: Site, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)).eval()
    (compiled,) = neo.compile(module, (torch.zeros(1, 6),), store=site.store.root, key=site.key, name="mlp")
    fly(site, compiled, tmp_path)
    x = np.linspace(-1, 1, 6, dtype=np.float32)[None]
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    assert np.abs(ask_device(site.device_url, compiled, x) - expected).max() < 1e-5


def demo(*arguments: str) -> subprocess.Popen[str]:
    # a shell lets what it starts in the background ignore Ctrl-C, and that is inherited
    script = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    script += "from neo.cli.__main__ import main; main()"
    command = [sys.executable, "-c", script, "demo", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("framework", ["mxnet", "pytorch", "keras"])
def test_the_device_answers_as_the_framework_did_on_every_held_out_image(framework: str) -> None:
    process = demo("--framework", framework, "--json")
    stdout, stderr = process.communicate(timeout=280)
    assert process.returncode == 0, stderr
    result = json.loads(stdout)
    assert result["images"] == 360
    assert result["agreement"] == 1.0
    assert result["accuracy_device"] == result["accuracy_source"] > 0.95
    assert result["live_digest"] == result["digest"]


def children(pid: int) -> list[int]:
    listed = subprocess.run(["/bin/ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    return [int(child) for child, parent in map(str.split, listed.splitlines()) if int(parent) == pid]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_ctrl_c_stops_everything_the_demo_started() -> None:
    process = demo("--framework", "mxnet")
    try:
        deadline = time.monotonic() + 120
        while len(children(process.pid)) < 2 and time.monotonic() < deadline:  # the broker and the agent
            time.sleep(0.05)
        started = children(process.pid)
        assert len(started) >= 2
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "Traceback" not in stderr
        assert not [pid for pid in started if is_running(pid)]
    finally:
        process.kill()
        process.wait()

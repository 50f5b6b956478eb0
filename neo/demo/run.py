"""The demo's steps: train, compile, start, push, predict, compare."""

from __future__ import annotations

import http.client
import importlib.util
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from neo.compiler.pipeline import OnStatus, run
from neo.compiler.request import CompileRequest
from neo.compiler.result import CompiledBundle
from neo.contract.inference import HEADER_LENGTH, decode_tensors, encode_tensors
from neo.contract.tensors import TensorSpec
from neo.contract.topics import Topics
from neo.demo.digits import load_digits
from neo.demo.processes import DEVICE_ID, Started, start_agent, start_broker
from neo.demo.train import GOLDEN_FILE, MODEL_FILES, OUTPUTS_FILE
from neo.errors import DeviceError, MissingDependency, NeoError
from neo.fleet.inventory import read_inventory
from neo.fleet.push import PushRequest, push
from neo.link import BrokerUrl
from neo.store import Store
from neo.trust import generate_key, load_signer
from neo.trust.keys import public_path

FRAMEWORKS = {"pytorch": "torch", "keras": "keras", "mxnet": ""}
PUSH_TIMEOUT_S = 60.0
ONLINE_S = 20.0
CLIENT_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo has shown. Accuracies and agreement are 0 to 1, over the held-out images."""

    framework: str
    #: number of held-out images
    images: int
    accuracy_source: float
    accuracy_device: float
    #: share of images for which device and source framework give the same digit
    agreement: float
    #: largest difference between outputs of the device and of the source framework
    max_abs: float
    compiled: CompiledBundle
    live_digest: str
    seconds: dict[str, float]
    broker_url: str
    device_url: str
    pids: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        bundle = self.compiled.to_json()
        copied = ("reference", "digest", "engine", "latency_ms", "peak_rss_mb", "size_bytes", "parity")
        return {
            "framework": self.framework,
            "images": self.images,
            "accuracy_source": self.accuracy_source,
            "accuracy_device": self.accuracy_device,
            "agreement": self.agreement,
            "max_abs": self.max_abs,
            **{key: bundle[key] for key in copied},
            "live_digest": self.live_digest,
            "device": DEVICE_ID,
            "seconds": self.seconds,
        }


def choose_framework(wanted: str | None) -> str:
    """wanted, or the first that is installed. Raises MissingDependency if wanted is not."""
    if wanted is None:
        return next(name for name, module in FRAMEWORKS.items() if not module or importlib.util.find_spec(module))
    module = FRAMEWORKS[wanted]
    if module and importlib.util.find_spec(module) is None:
        extra = "tensorflow" if wanted == "keras" else wanted
        raise MissingDependency(
            f"the demo with {wanted} trains a model with it, and it is not installed",
            hint=f"scripts/quickstart --with {extra}, or pip install 'neo-edge[{extra}]'; "
            "--framework mxnet needs no framework",
        )
    return wanted


def run_demo(framework: str, folder: Path, on_status: OnStatus, started: list[Started]) -> DemoResult:
    """Everything in folder. started: the processes, appended as they start; the caller stops them."""
    seconds: dict[str, float] = {}
    clock = _Clock(seconds)
    on_status(f"training with {framework}" if framework != "mxnet" else "taking the model that MXNet trained")
    outputs = _train(framework, folder)
    clock.mark("train")
    key = folder / "operator.key"
    generate_key(key)
    store = Store(folder / "store")
    golden = folder / GOLDEN_FILE
    request = CompileRequest(
        model=folder / MODEL_FILES[framework],
        store=store,
        signer=load_signer(key),
        name="digits",
        # an MXNet symbol does not tell its input's shape
        inputs=(TensorSpec("data", "float32", (1, 1, 8, 8)),) if framework == "mxnet" else (),
        golden=golden if golden.is_file() else None,
    )
    compiled = run(request, on_status)[0]
    clock.mark("compile")
    on_status("starting the broker and the agent")
    broker, broker_url = start_broker(folder)
    started.append(broker)
    agent, device_url = start_agent(folder, broker_url, public_path(key))
    started.append(agent)
    url = BrokerUrl.parse(broker_url)
    _wait_until_online(url)
    clock.mark("start")
    on_status("pushing")
    request_push = PushRequest(devices=(DEVICE_ID,), timeout_s=PUSH_TIMEOUT_S)
    push(compiled.bundle, request_push, store=store, url=url).raise_failures()
    clock.mark("push")
    on_status("asking the device")
    _, held_out = load_digits()
    images = held_out.images.transpose(0, 2, 3, 1) if framework == "keras" else held_out.images
    answers = ask_device(device_url, compiled, images)
    clock.mark("predict")
    expected, actual = outputs.argmax(axis=1), answers.argmax(axis=1)
    return DemoResult(
        framework=framework,
        images=len(images),
        accuracy_source=float((expected == held_out.labels).mean()),
        accuracy_device=float((actual == held_out.labels).mean()),
        agreement=float((expected == actual).mean()),
        max_abs=float(np.abs(answers - outputs).max()),
        compiled=compiled,
        live_digest=_live_digest(url),
        seconds=seconds,
        broker_url=broker_url,
        device_url=device_url,
        pids={process.name: process.process.pid for process in started},
    )


def ask_device(url: str, compiled: CompiledBundle, images: NDArray[Any]) -> NDArray[Any]:
    """One request per image, as a client of the device would send it; -> float32 (N, classes).

    Raises DeviceError if the device answers anything but a prediction.
    """
    manifest = compiled.bundle.manifest
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=CLIENT_TIMEOUT_S)
    answers = []
    for image in images:
        extra = {"parameters": {"binary_data_output": True}}
        body, header = encode_tensors("inputs", {manifest.inputs[0].name: image[np.newaxis]}, extra, binary=True)
        connection.request("POST", f"/v2/models/{manifest.name}/infer", body, {HEADER_LENGTH: str(header)})
        response = connection.getresponse()
        payload = response.read()
        if response.status != http.client.OK:
            raise DeviceError(f"the device answered {response.status}: {payload[:300].decode(errors='replace')}")
        length = response.getheader(HEADER_LENGTH)
        tensors, _ = decode_tensors("outputs", payload, None if length is None else int(length))
        answers.append(tensors[manifest.outputs[0].name][0])
    connection.close()
    return np.stack(answers)


class _Clock:
    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds = seconds
        self._last = time.monotonic()

    def mark(self, step: str) -> None:
        now = time.monotonic()
        self._seconds[step] = round(now - self._last, 2)
        self._last = now


def _train(framework: str, folder: Path) -> NDArray[Any]:
    command = [sys.executable, "-m", "neo.demo.train", framework, str(folder)]
    done = subprocess.run(command, capture_output=True, check=False, cwd=folder)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()[-800:]
        raise NeoError(f"training with {framework} failed: {said}", hint="try another one: --framework mxnet")
    outputs: NDArray[Any] = np.load(folder / OUTPUTS_FILE)
    return outputs


def _wait_until_online(url: BrokerUrl) -> None:
    deadline = time.monotonic() + ONLINE_S
    while time.monotonic() < deadline:
        record = read_inventory(url, Topics()).records.get(DEVICE_ID)
        if record is not None and record.online:
            return
    raise DeviceError(f"the agent has not announced itself in {ONLINE_S:.0f} s", hint="neo doctor")


def _live_digest(url: BrokerUrl) -> str:
    record = read_inventory(url, Topics()).records.get(DEVICE_ID)
    told = None if record is None else record.told
    live = None if told is None else told.live
    return "" if live is None else live.digest

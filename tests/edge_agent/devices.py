"""Real bundles, a real broker and real agent processes for the tests of the agent."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from securesystemslib.signer import CryptoSigner

from neo.compiler.bundle import publish
from neo.compiler.draft import stage
from neo.contract.chunks import TABLE_TYPE
from neo.contract.device import Capabilities, Requirements
from neo.contract.fields import ContractError
from neo.contract.manifest import Manifest
from neo.contract.messages import Assignment, DeviceState, Presence
from neo.contract.oci import MANIFEST_TYPE, Descriptor, ImageManifest
from neo.contract.parity import Tolerance
from neo.contract.tensors import TensorSpec
from neo.contract.topics import Topics
from neo.fleet.source import source_id_of
from neo.link import BrokerUrl, Event, Link, Message
from neo.runtime.engine_folder import EngineFolder
from neo.runtime.golden import write_golden
from neo.runtime.host import read_host
from neo.store import Store
from neo.store.bundles import Bundle
from neo.trust import Statement, sign_statement
from neo.trust.keys import dump_public_key
from neo.trust.statement import ENVELOPE_TYPE, SIGNATURE_TYPE

INPUTS = (TensorSpec("x", "float32", (1, 4)),)
OUTPUTS = (TensorSpec("y", "float32", (1, 3)),)
SAMPLE = np.array([[1.0, 2.0, 3.0, 4.0]], np.float32)
TOPICS = Topics()
START_S = 60.0  # an emulated agent takes its time


def weights_of(version: str) -> np.ndarray:
    """Every version answers something else."""
    return np.random.default_rng(int(version)).standard_normal((4, 3)).astype(np.float32)


def answer_of(version: str, x: np.ndarray = SAMPLE) -> np.ndarray:
    return x @ weights_of(version)


def write_engine(folder: Path, version: str, ballast: bytes = b"") -> None:
    folder.mkdir(parents=True)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(weights_of(version), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    (folder / "engine.json").write_bytes(EngineFolder("onnxruntime", INPUTS, OUTPUTS).to_bytes())
    if ballast:
        (folder / "ballast.bin").write_bytes(ballast)


def make_manifest(version: str) -> Manifest:
    host = read_host()
    requires = Requirements(host.arch, host.os, host.features[:2], host.glibc)
    return Manifest(
        "tiny", version, "host", requires, "onnxruntime", "", "float32", "onnx", INPUTS, OUTPUTS, Tolerance()
    )


def make_bundle(
    store: Store,
    folder: Path,
    version: str,
    *,
    ballast: bytes = b"",
    manifest: Manifest | None = None,
    golden_shift: float = 0.0,
    tables: bool = True,
) -> Bundle:
    """An unsigned bundle in the store's index. tables: of the chunks of large files, as today's builder writes them."""
    folder = folder / f"bundle-{version}-{secrets.token_hex(4)}"
    write_engine(folder / "engine", version, ballast)
    write_golden(folder, [({"x": SAMPLE}, {"y": answer_of(version) + golden_shift})])
    (folder / "report.json").write_text(json.dumps({"version": version}))
    draft = stage(store, manifest or make_manifest(version), folder)
    if not tables:
        layers = tuple(layer for layer in draft.layers if layer.media_type != TABLE_TYPE)
        draft = replace(draft, manifest=replace(draft.manifest, chunks=()), layers=layers)
    (bundle,) = publish(store, [draft], replace_listed=True)
    return bundle


def sign_bundle(store: Store, bundle: Bundle, signer: CryptoSigner, reference: str | None = None) -> Descriptor:
    """-> the envelope's blob, listed in the store's index."""
    statement = Statement(bundle.descriptor.digest, bundle.descriptor.size, reference or bundle.manifest.reference)
    envelope = store.put(sign_statement(statement, signer), ENVELOPE_TYPE)
    image = ImageManifest(SIGNATURE_TYPE, store.put_empty(), (envelope,), bundle.descriptor)
    store.add_to_index(replace(store.put_manifest(image), artifact_type=SIGNATURE_TYPE))
    return envelope


def make_assignment(bundle: Bundle, envelope: Descriptor, source: str) -> Assignment:
    plain = Descriptor(MANIFEST_TYPE, bundle.descriptor.digest, bundle.descriptor.size)
    return Assignment(secrets.token_hex(8), bundle.manifest.reference, plain, envelope, source, time.time())


def capabilities(**changes: object) -> Capabilities:
    """Of this host, with the onnxruntime engine."""
    host = read_host()
    engines = {"onnxruntime": "1.0"}
    device = Capabilities(
        "d", "0", host.arch, host.os, host.glibc, host.features, host.cores, host.memory_bytes, 1 << 40, engines
    )
    return replace(device, **changes)  # type: ignore[arg-type]


def write_public_key(signer: CryptoSigner, path: Path) -> Path:
    path.write_text(dump_public_key(signer.public_key), encoding="utf-8")
    return path


@dataclass
class Operator:
    """The other end of the broker: assigns, and reads what devices say."""

    store: Store
    link: Link
    inbox: queue.SimpleQueue[Event]
    states: list[DeviceState]
    presences: list[Presence]

    @classmethod
    @contextmanager
    def connected(cls, store: Store, url: str, device_id: str = "dev-1") -> Iterator[Operator]:
        inbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
        leaves = [TOPICS.device(device_id, leaf) for leaf in ("state", "presence")]
        link = Link(BrokerUrl.parse(url), client_id=f"op-{secrets.token_hex(4)}", subscriptions=leaves, inbox=inbox)
        link.connect(10)
        try:
            yield cls(store, link, inbox, [], [])
        finally:
            link.stop()

    def assign(self, assignment: Assignment, device_id: str = "dev-1") -> None:
        self.link.publish(TOPICS.device(device_id, "assignment"), assignment.to_bytes(), retain=True)

    def push(self, bundle: Bundle, envelope: Descriptor) -> Assignment:
        assignment = self.make_assignment(bundle, envelope)
        self.assign(assignment)
        return assignment

    def make_assignment(self, bundle: Bundle, envelope: Descriptor) -> Assignment:
        return make_assignment(bundle, envelope, source_id_of(self.store))

    def read(self, timeout_s: float = 0.1) -> None:
        try:
            event = self.inbox.get(timeout=timeout_s)
        except queue.Empty:
            return
        if isinstance(event, Message) and event.payload:
            if event.topic.endswith("/state"):
                self.states.append(DeviceState.from_bytes(event.payload))
            else:
                with contextlib.suppress(ContractError):  # a test may publish nonsense there
                    self.presences.append(Presence.from_bytes(event.payload))

    def wait_for(self, accept: Callable[[DeviceState], bool], timeout_s: float = 30) -> DeviceState:
        deadline = time.monotonic() + timeout_s
        seen = len(self.states)
        while time.monotonic() < deadline:
            self.read()
            for state in self.states[seen:]:
                if accept(state):
                    return state
            seen = len(self.states)
        raise AssertionError(f"no such state in {timeout_s} s; the last ones: {self.states[-3:]}")

    def wait_for_end(self, assignment: Assignment, timeout_s: float = 30) -> DeviceState:
        return self.wait_for(lambda s: s.assignment == assignment.id and s.phase in ("active", "failed"), timeout_s)

    def wait_for_presence(self, accept: Callable[[Presence], bool], timeout_s: float = 15) -> Presence:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = [presence for presence in self.presences if accept(presence)]
            if found:
                return found[-1]
            self.read()
        raise AssertionError(f"no such presence in {timeout_s} s; seen: {self.presences}")


class AgentProcess:
    """A real neo-agent. Its log is collected; ``kill`` is SIGKILL."""

    def __init__(
        self,
        broker: str,
        state_dir: Path,
        trust: Path,
        *extra: str,
        device_id: str = "dev-1",
        listen: str = "127.0.0.1:0",
        python: str = sys.executable,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.state_dir = state_dir
        arguments = ["--broker", broker, "--device-id", device_id, "--state-dir", str(state_dir)]
        arguments += ["--trust", str(trust), "--listen", listen, "--threads", "1", *extra]
        self.process = subprocess.Popen(
            [python, "-m", "edge_agent", *arguments],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
        )
        self.log: list[str] = []
        self._reader = threading.Thread(target=self._collect, daemon=True)
        self._reader.start()

    def _collect(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            self.log.extend(stream)

    @property
    def url(self) -> str:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                note = json.loads((self.state_dir / "agent.json").read_bytes())
            except FileNotFoundError:
                time.sleep(0.02)
                continue
            if note["pid"] == self.process.pid:
                return str(note["url"])
            time.sleep(0.02)
        raise AssertionError("the agent does not listen: " + "".join(self.log))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(5)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        self._reader.join(5)
        return code

    def wait(self, timeout_s: float = 20) -> int:
        code = self.process.wait(timeout_s)
        self._reader.join(5)
        return code

    def predict(self, x: np.ndarray = SAMPLE) -> np.ndarray | None:
        """The answer over HTTP; None while no model is live."""
        entry = {"name": "x", "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}
        try:
            reply = http_json(f"{self.url}/v2/models/tiny/infer", {"inputs": [entry]})
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 503:
                    return None
                raise AssertionError(error.read().decode()) from error
        (output,) = reply["outputs"]
        return np.array(output["data"], np.float32).reshape(output["shape"])

    def wait_for_answer(self, timeout_s: float = 20) -> np.ndarray:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            answer = self.predict()
            if answer is not None:
                return answer
            time.sleep(0.05)
        raise AssertionError("no model answers: " + "".join(self.log))


def http_json(url: str, value: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if value is None else json.dumps(value).encode()
    request = urllib.request.Request(url, data)  # noqa: S310  an address of this machine
    with urllib.request.urlopen(request, timeout=20) as reply:  # noqa: S310  as above
        found: dict[str, Any] = json.loads(reply.read())
    return found

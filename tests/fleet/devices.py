"""A bundle without a model, and a device that only fetches and reports: enough for the operator's side."""

from __future__ import annotations

import queue
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from neo.compiler.bundle import publish, sign_bundle
from neo.compiler.draft import stage
from neo.contract.device import Capabilities, Requirements
from neo.contract.manifest import Manifest
from neo.contract.messages import Assignment, Chunk, DeviceState, Live, LiveModel, Presence, Report, Want
from neo.contract.oci import digest_of
from neo.contract.parity import Tolerance
from neo.contract.tensors import TensorSpec
from neo.contract.topics import Topics
from neo.errors import BundleError
from neo.link import BrokerUrl, Connected, Event, Link, Message
from neo.store import Store
from neo.store.bundles import Bundle, parse_image

TOPICS = Topics()
INPUTS = (TensorSpec("x", "float32", (1, 4)),)


def make_bundle(
    store: Store, folder: Path, *, signed: bool = True, ballast: bytes = bytes(300_000), target: str = "host"
) -> Bundle:
    requires = Requirements("x86_64", "linux", ("avx2",), "2.28")
    manifest = Manifest("tiny", "1", target, requires, "tvm", "1.0", "float32", "onnx", INPUTS, INPUTS, Tolerance())
    (folder / "engine").mkdir(parents=True)
    (folder / "engine" / "weights.bin").write_bytes(ballast)
    (folder / "report.json").write_text('{"version": 1}')
    (bundle,) = publish(store, [stage(store, manifest, folder)], replace_listed=True)
    if signed:
        sign_bundle(store, bundle, CryptoSigner.generate_ed25519())
    return bundle


def make_capabilities(device_id: str, *, arch: str = "x86_64", glibc: str = "2.36") -> Capabilities:
    return Capabilities(device_id, "0.1", arch, "linux", glibc, ("avx2",), 4, 1 << 30, 1 << 30, {"tvm": "1.0"})


def make_report(device: str, state: DeviceState, sequence: int, *, retry_at: float | None = None) -> Report:
    live = {}
    if state.live is not None:
        live = {"tiny": LiveModel(state.live.digest, state.live.reference, state.live.engine, state.live.since)}
    return Report(
        fleet=TOPICS.fleet,
        device=device,
        session=state.session,
        sequence=sequence,
        phase=state.phase,
        document=None,
        live=live,
        done_bytes=state.done_bytes,
        total_bytes=state.total_bytes,
        stalled=False,
        error=state.error,
        retry_at=retry_at,
        refusal=None,
        refused=0,
        notes=(),
        url=state.url,
        at=state.at,
        assignment=state.assignment,
    )


class FakeDevice:
    """Connects, waits for an assignment, fetches it, and reports what ``verdict`` says (None: active)."""

    def __init__(
        self,
        url: BrokerUrl,
        device_id: str,
        *,
        arch: str = "x86_64",
        verdict: Callable[[], BundleError | None] = lambda: None,
        asks: bool = True,
    ) -> None:
        self.device_id = device_id
        self.session = secrets.token_hex(4)
        self.fetched: dict[str, bytes] = {}
        self.inbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._arch = arch
        self._verdict = verdict
        self._asks = asks
        self._finished: set[str] = set()
        self._last_state = b""
        self._stopping = threading.Event()
        subscriptions = [TOPICS.device(device_id, leaf) for leaf in ("assignment", "chunk")]
        will = (TOPICS.device(device_id, "presence"), Presence(False, self.session, time.time()).to_bytes())
        self.link = Link(url, client_id=self.session, subscriptions=subscriptions, inbox=self.inbox, will=will)
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> FakeDevice:
        self.link.connect(10)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._say("presence", Presence(False, self.session, time.time()).to_bytes())
        self.link.stop()

    def say_state(self, phase: str, assignment: str = "", live: Live | None = None, error=None, done: int = 0) -> None:
        state = DeviceState(self.session, phase, assignment, live, done, done, error, "", time.time())
        self._last_state = state.to_bytes()
        self._say("state", self._last_state)

    def _say(self, leaf: str, payload: bytes) -> None:
        self.link.publish(TOPICS.device(self.device_id, leaf), payload, retain=True)

    def _run(self) -> None:
        while not self._stopping.is_set():
            event = self._next()
            if isinstance(event, Connected):
                self._say("capabilities", make_capabilities(self.device_id, arch=self._arch).to_bytes())
                self._say("presence", Presence(True, self.session, time.time()).to_bytes())
                if self._last_state:  # as the agent does: a new connection does not change what it is doing
                    self._say("state", self._last_state)
                else:
                    self.say_state("idle")
            elif isinstance(event, Message) and event.topic.endswith("/assignment") and event.payload and self._asks:
                assignment = Assignment.from_bytes(event.payload)
                if assignment.id not in self._finished:  # retained: it comes again with every connection
                    self._install(assignment)

    def _install(self, assignment: Assignment) -> None:
        self.say_state("fetching", assignment.id)
        manifest = self._fetch(assignment, assignment.manifest.digest, assignment.manifest.size)
        self._fetch(assignment, assignment.signature.digest, assignment.signature.size)
        if self._stopping.is_set():
            return
        image = parse_image(manifest)
        for blob in (image.config, *image.layers):
            self._fetch(assignment, blob.digest, blob.size)
        self._finished.add(assignment.id)
        done = sum(map(len, self.fetched.values()))
        error = self._verdict()
        if error is None:
            live = Live(assignment.manifest.digest, assignment.reference, "tvm", time.time())
            self.say_state("active", assignment.id, live, done=done)
        else:
            self.say_state("failed", assignment.id, error=error.to_json(), done=done)

    def _fetch(self, assignment: Assignment, digest: str, size: int) -> bytes:
        data = b""
        topic = TOPICS.source(assignment.source, "want")
        while len(data) < size and not self._stopping.is_set():
            self.link.publish(topic, Want(self.device_id, digest, len(data), size - len(data)).to_bytes())
            deadline = time.monotonic() + 1
            while len(data) < size and time.monotonic() < deadline and not self._stopping.is_set():
                event = self._next()
                if isinstance(event, Message) and event.topic.endswith("/chunk"):
                    chunk = Chunk.from_bytes(event.payload)
                    assert not chunk.absent
                    if chunk.digest == digest and chunk.offset == len(data):
                        data += chunk.data
        if not self._stopping.is_set():
            assert digest_of(data) == digest
        self.fetched[digest] = data
        return data

    def _next(self) -> Event | None:
        try:
            return self.inbox.get(timeout=0.05)
        except queue.Empty:
            return None

"""The agent's loop, deployment and slots in this process, at the end of a wire that the test holds."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner

from edge_agent.core.agent import Agent, Clock, Identity
from edge_agent.core.device_key import open_device_key
from edge_agent.core.events import Stop, WorkerExited
from edge_agent.core.reports import Reporter
from edge_agent.install.asking import Ask
from edge_agent.install.deployment import Deployment
from edge_agent.install.fetch import FetchRules
from edge_agent.install.slots import Slots
from edge_agent.install.starter import ModelStarter
from edge_agent.serve.infer import Inference
from edge_agent.tasks import Work
from edge_agent.worker.client import Worker, WorkerLimits
from edge_agent.worker.models import Serving
from neo.contract.chunks import chunk_span
from neo.contract.fields import dump_object
from neo.contract.manifest import CONFIG_TYPE
from neo.contract.messages import Assignment, DeviceState, Missing, NumberedChunk, RollCall
from neo.link import Connected, Message
from neo.store import Store
from neo.trust import KeyAuthority
from neo.trust.documents import SignedReport, open_report
from tests.edge_agent.devices import TOPICS, capabilities, make_assignment, make_bundle, sign_bundle
from tests.edge_agent.workers import LIMITS, command_of

IDENTITY = Identity("dev-1", "me", TOPICS, "http://here")


class Rig:
    """One device, and the operator's store, which answers what the device wants.

    program: source of the worker processes (see ``workers``), None for the real one; it finds the version of its
    model in VERSION and a folder to write to in FOLDER.
    """

    def __init__(self, folder: Path, signer: CryptoSigner, program: str | None = None) -> None:
        self.folder, self.state_dir, self.signer = folder, folder / "device", signer
        self.operator = Store(folder / "operator")
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.states: list[DeviceState] = []
        self.reports: list[SignedReport] = []
        self.roll_calls: queue.SimpleQueue[RollCall] = queue.SimpleQueue()
        self.skipped_s = 0.0
        self.answers_wants = True
        self._sequence = 0
        self.error: BaseException | None = None
        work = Work.reporting_to(self.inbox)
        self.serving = Serving(stop=lambda worker: work.models.submit(worker.stop))
        self.inference = Inference(self.serving)
        store = Store(self.state_dir / "store")
        self.slots = Slots(self.state_dir, store)
        authority = KeyAuthority([signer.public_key])
        starter = ModelStarter(self.slots, authority, 1, lambda worker: self.inbox.put(WorkerExited(worker)), LIMITS)
        if program is not None:
            starter = ModelStarter(
                self.slots, authority, 1, starter.on_exit, LIMITS, lambda *what: self._start_worker(program, *what)
            )
        self.deployment = Deployment(
            self.state_dir,
            store=store,
            starter=starter,
            serving=self.serving,
            rules=FetchRules(authority, capabilities, self._make_room),
            work=work,
            sources=self,
        )
        clock = Clock(monotonic=lambda: time.monotonic() + self.skipped_s)
        self._agent = Agent(
            IDENTITY,
            link=self,
            inbox=self.inbox,
            deployment=self.deployment,
            capabilities=capabilities,
            reporter=Reporter(TOPICS.fleet, IDENTITY.device_id, open_device_key(self.state_dir)),
            clock=clock,
        )
        self._thread = threading.Thread(target=self._run)

    @contextmanager
    def running(self) -> Iterator[Rig]:
        self._thread.start()
        self.inbox.put(Connected())
        self.skip(2)  # the wait after the roll call
        try:
            yield self
        finally:
            self.inbox.put(Stop("the test is over"))
            self._thread.join(20)
            assert self.error is None, self.error
            assert not self._thread.is_alive()

    def publish(self, topic: str, payload: bytes, **_how: object) -> None:
        """What the agent says."""
        if topic.endswith("/state"):
            self.states.append(DeviceState.from_bytes(payload))
        elif topic.endswith("/report"):
            self.reports.append(open_report(payload))
        elif topic.endswith("/roll-call"):
            self.roll_calls.put(RollCall.from_bytes(payload))

    def send(self, leaf: str, payload: bytes) -> None:
        self.inbox.put(Message(TOPICS.device("dev-1", leaf), payload, retained=False))

    def skip(self, seconds: float) -> None:
        """The agent's clock goes on by that; nothing waits for it."""
        self.skipped_s += seconds

    def prepare(self, version: str, **of_bundle: Any) -> Assignment:
        """A signed bundle in the operator's store, not assigned yet."""
        bundle = make_bundle(self.operator, self.folder, version, **of_bundle)
        return make_assignment(bundle, sign_bundle(self.operator, bundle, self.signer), "src")

    def assign(self, version: str, **of_bundle: Any) -> Assignment:
        return self._send_assignment(self.prepare(version, **of_bundle))

    def assign_from_the_future(self, version: str) -> Assignment:
        """A signed bundle whose manifest no agent of today reads."""
        bundle = make_bundle(self.operator, self.folder, version)
        manifest = json.loads(bundle.manifest.to_bytes())
        config = self.operator.put(dump_object({**manifest, "schema": 99, "engines": []}), CONFIG_TYPE)
        descriptor = self.operator.put_manifest(replace(bundle.image, config=config))
        bundle = replace(bundle, descriptor=descriptor)
        return self._send_assignment(make_assignment(bundle, sign_bundle(self.operator, bundle, self.signer), "src"))

    def push(self, version: str) -> Assignment:
        """Until it is live."""
        assignment = self.assign(version)
        state = self.wait_for_end(assignment)
        assert state.phase == "active", state
        return assignment

    def wait_for_end(self, assignment: Assignment) -> DeviceState:
        return self.wait_for(lambda s: s.assignment == assignment.id and s.phase in ("active", "failed"))

    def wait_for(self, accept: Callable[[DeviceState], bool], timeout_s: float = 30) -> DeviceState:
        """The newest state, once it is as wanted."""
        deadline = time.monotonic() + timeout_s
        while not (self.states and accept(self.states[-1])):
            assert self.error is None, self.error
            assert time.monotonic() < deadline, self.states[-3:]
            time.sleep(0.01)
        return self.states[-1]

    def _send_assignment(self, assignment: Assignment) -> Assignment:
        self.skip(1)  # the agent takes up one in half a second
        self.send("assignment", assignment.to_bytes())
        return assignment

    def _run(self) -> None:
        try:
            self._agent.run()
        except BaseException as error:  # noqa: BLE001  told to the test
            self.error = error

    def listen(self, digests: Collection[str]) -> None:
        """As ``Sources``; this one answers each device alone."""

    def ask(self, _source: str, ask: Ask) -> None:
        """As ``Sources``. Answers what is missing, whole."""
        if self.answers_wants and isinstance(ask, Missing):
            for blob in ask.blobs:
                data = self.operator.path(blob.digest).read_bytes()
                for index in (index for first, count in blob.runs for index in range(first, first + count)):
                    self._sequence += 1
                    offset, length = chunk_span(index, len(data))
                    chunk = NumberedChunk(blob.digest, index, self._sequence, data[offset : offset + length])
                    self.inbox.put(Message(TOPICS.chunk("dev-1"), chunk.to_bytes(), retained=False))

    def _make_room(self, digest: str) -> int:
        self.slots.remove_all_but([self.slots.current, self.slots.previous, digest])
        return 1 << 40

    def _start_worker(
        self, program: str, folder: Path, threads: int | None, limits: WorkerLimits, on_exit: Callable[[Worker], None]
    ) -> Worker:
        version = (folder / "report.json").read_text().split('"')[3]
        preface = f"VERSION, FOLDER = {version!r}, {str(self.folder)!r}\n"
        return Worker(folder, threads, limits, on_exit, command_of(preface + program, self.folder))

"""The agent itself, emulated, takes bundles over a real broker and answers predictions; code that its processor cannot
run it refuses.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from neo.broker.run import Settings, running_broker
from neo.compiler.pipeline import run
from neo.compiler.request import CompileRequest
from neo.compiler.result import CompiledBundle
from neo.contract.device import Capabilities
from neo.contract.messages import DeviceState
from neo.contract.parity import compare
from neo.contract.topics import Topics
from neo.demo.run import ask_device
from neo.errors import DeviceError
from neo.fleet.inventory import read_inventory
from neo.fleet.push import PushRequest, push
from neo.fleet.records import DeviceRecord
from neo.fleet.source import serving
from neo.link import BrokerUrl
from neo.runtime.golden import read_golden
from neo.store import Store
from neo.store.bundles import signatures_of, unpack_bundle
from neo.targets import load_target
from neo.trust import generate_key, load_signer
from neo.trust.keys import public_path
from neo.trust.statement import SIGNATURE_TYPE
from tests.arm64.emulation import PROCESSORS, environment
from tests.edge_agent.devices import AgentProcess, Operator
from tests.models import classifier

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DEVICE_ID = "emulated"
PUSH_S = 120
ONLINE_S = 60.0


@dataclass(frozen=True)
class Office:
    """What the operator has: a key, a store, and one model compiled for two processors by the tvm engine. graviton's
    is in bfloat16.
    """

    key: Path
    store: Store
    raspberry: CompiledBundle
    graviton: CompiledBundle


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory, device_python: str) -> Office:
    folder = tmp_path_factory.mktemp("office")
    key, store = folder / "operator.key", Store(folder / "store")
    generate_key(key)
    model = classifier(folder / "net.onnx")

    def compiled(target: str, precision: str) -> CompiledBundle:
        signer = load_signer(key)
        (bundle,) = run(CompileRequest(model, store, signer, targets=(target,), engine="tvm", precision=precision))
        return bundle

    return Office(key, store, compiled("raspberry-pi-4", "fp32"), compiled("graviton3", "bf16"))


@dataclass
class Site:
    """A broker and a device's disk, with the agents that were started with it."""

    office: Office
    broker: BrokerUrl
    state_dir: Path
    python: str
    agents: list[AgentProcess] = field(default_factory=list)

    def start(self, target: str) -> AgentProcess:
        """On a device of the target's kind."""
        trust = public_path(self.office.key)
        agent = AgentProcess(
            str(self.broker),
            self.state_dir,
            trust,
            device_id=DEVICE_ID,
            python=self.python,
            environment=environment(PROCESSORS[target]),
        )
        self.agents.append(agent)
        self.wait_for(lambda record: record.speaks)
        return agent

    def record(self) -> DeviceRecord:
        records = read_inventory(self.broker, Topics()).records
        return records.get(DEVICE_ID, DeviceRecord(DEVICE_ID))

    def wait_for(self, accept: Callable[[DeviceRecord], bool]) -> DeviceRecord:
        deadline = time.monotonic() + ONLINE_S
        while time.monotonic() < deadline:
            record = self.record()
            if accept(record):
                return record
        raise AssertionError(f"no such record in {ONLINE_S} s: {record}; " + "".join(self.agents[-1].log))

    def push(self, compiled: CompiledBundle) -> None:
        """Until it is live. Raises what the fleet, or the device, refuses."""
        request = PushRequest((DEVICE_ID,), timeout_s=PUSH_S)
        push(compiled.bundle, request, store=self.office.store, url=self.broker).raise_failures()

    def assign(self, compiled: CompiledBundle) -> DeviceState:
        """Past the checks of ``push``; -> what the device says at last."""
        store, url = self.office.store, str(self.broker)
        (envelope,) = signatures_of(store, compiled.bundle.descriptor.digest, SIGNATURE_TYPE)
        with serving(store, Topics(), self.broker), Operator.connected(store, url, DEVICE_ID) as operator:
            assignment = operator.make_assignment(compiled.bundle, envelope)
            operator.assign(assignment, DEVICE_ID)
            return operator.wait_for_end(assignment, PUSH_S)

    def distance(self, compiled: CompiledBundle) -> float:
        """Of the answers over HTTP from the source framework's, divided by the largest number among those."""
        farthest = 0.0
        with tempfile.TemporaryDirectory() as folder:
            unpack_bundle(self.office.store, compiled.bundle, Path(folder) / "bundle")
            for inputs, outputs in read_golden(Path(folder) / "bundle"):
                (x,), (name,) = inputs.values(), outputs
                answer = ask_device(self.agents[-1].url, compiled, x)
                farthest = max(farthest, compare(outputs, {name: answer}).max_rel)
        return farthest


@pytest.fixture
def site(office: Office, device_python: str, tmp_path: Path) -> Iterator[Site]:
    with running_broker(Settings("127.0.0.1", 0, tmp_path / "broker")) as listening:
        site = Site(office, BrokerUrl.parse(listening.url), tmp_path / "device", device_python)
        yield site
        for agent in site.agents:
            agent.kill()


def capabilities(site: Site) -> Capabilities:
    found = site.record().capabilities
    assert found is not None
    return found


def test_a_pushed_bundle_answers_on_the_device_as_the_model_did_here(site: Site, office: Office) -> None:
    agent = site.start("raspberry-pi-4")
    found = capabilities(site)
    assert (found.arch, set(found.features)) == ("aarch64", set(load_target("raspberry-pi-4").cpu.features))
    assert {"onnxruntime", "tvm"} <= set(found.engines)
    site.push(office.raspberry)
    assert site.distance(office.raspberry) <= 1e-4
    assert agent.stop() == 0


def test_instructions_that_the_processor_lacks_are_refused_and_the_old_model_answers(
    site: Site, office: Office
) -> None:
    agent = site.start("raspberry-pi-4")
    site.push(office.raspberry)
    with pytest.raises(DeviceError, match=r"processor lacks .*bf16"):
        site.push(office.graviton)
    state = site.assign(office.graviton)
    assert state.phase == "failed"
    assert state.error is not None
    assert state.error["error"] == "TargetError"
    assert "lacks asimddp, asimdfhm, asimdhp, atomics, bf16, fphp, i8mm, sve" in state.error["message"]
    assert state.live is not None
    assert state.live.reference == office.raspberry.bundle.manifest.reference
    assert site.distance(office.raspberry) <= 1e-4
    assert agent.process.poll() is None


def test_a_disk_that_moves_to_a_device_with_less_instructions_does_not_kill_the_agent(
    site: Site, office: Office
) -> None:
    agent = site.start("graviton3")
    site.push(office.graviton)
    assert office.graviton.bundle.manifest.tolerance.max_rel >= site.distance(office.graviton) > 0
    assert agent.stop() == 0
    agent = site.start("raspberry-pi-4")
    record = site.wait_for(lambda record: record.state is not None and record.state.error is not None)
    assert record.state is not None
    assert record.state.error is not None
    assert "processor lacks" in record.state.error["message"]
    assert "SIGILL" not in "".join(agent.log)
    site.push(office.raspberry)
    assert site.distance(office.raspberry) <= 1e-4

"""A real agent process, a real broker, real bundles."""

from __future__ import annotations

import json
import os
import queue
import random
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from securesystemslib.signer import CryptoSigner

from neo.broker.run import Settings, running_broker
from neo.contract.device import Capabilities
from neo.errors import DeviceIdInUse
from neo.fleet.source import serving, source_id_of
from neo.link import BrokerUrl, Link, Message
from neo.store import Store
from tests.brokers import BROKERS
from tests.edge_agent.devices import (
    TOPICS,
    AgentProcess,
    Operator,
    answer_of,
    make_assignment,
    make_bundle,
    sign_bundle,
)
from tests.edge_agent.site import Site
from tests.thorough import times

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("broker", BROKERS, indirect=True)
def test_a_pushed_bundle_answers_and_a_second_one_takes_over(site: Site) -> None:
    agent = site.start()
    first = site.push("1", ballast=3_000_000)
    assert site.answers("1")
    state = site.operator.states[-1]
    assert state.live is not None
    assert state.live.digest == first.manifest.digest
    assert state.done_bytes == state.total_bytes > 3_000_000
    assert state.url == agent.url
    site.push("2")
    assert site.answers("2")
    assert agent.stop() == 0
    site.operator.wait_for_presence(lambda presence: not presence.online)
    assert not (agent.state_dir / "agent.json").exists()


def test_the_live_bundle_assigned_again_is_active_at_once(site: Site) -> None:
    site.start()
    bundle, envelope = site.bundle("1")
    site.operator.wait_for_end(site.operator.push(bundle, envelope))
    # nobody serves blobs for this one
    again = make_assignment(bundle, envelope, "nobody")
    site.operator.assign(again)
    assert site.operator.wait_for_end(again).phase == "active"


def test_a_failed_assignment_is_not_tried_again_after_a_restart(site: Site) -> None:
    site.start()
    bundle, _ = site.bundle("1")
    assignment = make_assignment(
        bundle,
        sign_bundle(site.operator.store, bundle, CryptoSigner.generate_ed25519()),
        source_id_of(site.operator.store),
    )
    site.operator.assign(assignment)
    assert site.operator.wait_for_end(assignment).phase == "failed"
    site.agent.kill()
    site.operator.states.clear()
    site.start()
    state = site.operator.wait_for_end(assignment)
    assert state.error is not None
    assert state.error["error"] == "TrustError"
    assert {state.phase for state in site.operator.states} == {"failed"}


def test_nonsense_from_the_broker_is_ignored(site: Site) -> None:
    site.start()
    site.push("1")
    good = make_assignment(*site.bundle("5"), "src").to_bytes()
    for spoiled in (
        good.replace(b'"at":', b'"at":NaN,"was":'),
        good.replace(b'"at":', b'"at":1e999,"was":'),
        good.replace(b"tiny:5-host", b"\\ud800"),
        good.replace(b"sha256:", b"../../"),
    ):
        assert spoiled != good
        site.operator.link.publish(TOPICS.device("dev-1", "assignment"), spoiled)
        time.sleep(0.2)
    for leaf in ("assignment", "chunk", "roll-call", "presence"):
        for payload in (b"{", b"\0" * 100, b"[]", b'{"id":"../x"}', b"NEO1" + b"\xff" * 200, os.urandom(100_000)):
            site.operator.link.publish(TOPICS.device("dev-1", leaf), payload)
    site.push("2")
    assert site.answers("2")


def test_a_full_disk_is_reported_and_the_push_goes_on_by_itself_when_there_is_room(site: Site) -> None:
    agent = site.start()
    site.push("1")
    # the nearest thing to a full disk that needs no root: no file may grow beyond this
    resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    assignment = site.operator.push(*site.bundle("2", ballast=2_000_000))
    state = site.operator.wait_for_end(assignment)
    assert state.error is not None
    assert state.error["error"] == "DiskFull"
    assert site.answers("1")
    resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    site.operator.wait_for(lambda state: state.assignment == assignment.id and state.phase == "active")
    assert site.answers("2")


def test_a_new_assignment_replaces_one_that_gets_nowhere(site: Site) -> None:
    site.start()
    stuck = make_assignment(*site.bundle("1"), "nobody")
    site.operator.assign(stuck)
    site.operator.wait_for(lambda state: state.assignment == stuck.id and state.phase == "fetching")
    site.push("2")
    assert site.answers("2")


def test_a_withdrawn_assignment_ends_and_the_live_model_stays(site: Site) -> None:
    site.start()
    site.push("1")
    site.operator.link.publish(TOPICS.device("dev-1", "assignment"), b"", retain=True)
    state = site.operator.wait_for(lambda state: state.phase == "idle")
    assert state.live is not None
    assert site.answers("1")


def test_a_restarted_device_answers_before_and_without_any_broker(site: Site) -> None:
    site.start()
    site.push("1")
    assert site.agent.stop() == 0
    site.start(broker="mqtt://127.0.0.1:9")
    assert site.answers("1")
    assert site.agent.stop() == 0


def test_a_second_agent_with_the_same_id_stops_with_53_and_the_first_stays(site: Site, tmp_path: Path) -> None:
    site.start()
    site.operator.wait_for_presence(lambda presence: presence.online)
    second = AgentProcess(site.broker, tmp_path / "device-2", site.trust)
    site.agents.insert(0, second)
    assert second.wait() == DeviceIdInUse.exit_code
    log = "".join(second.log)
    assert "'dev-1'" in log
    assert "--device-id" in log
    assert "Traceback" not in log
    site.push("1")
    assert site.answers("1")


def test_a_crashing_worker_is_restarted_and_after_three_deaths_the_previous_model_comes_back(site: Site) -> None:
    agent = site.start()
    site.push("1")
    site.push("2")
    for _ in range(3):
        assert site.answers("2")
        os.kill(_worker_of(agent), signal.SIGKILL)
        _wait(lambda: agent.predict() is None or _worker_of(agent) != 0)
        time.sleep(0.1)
    state = site.operator.wait_for(lambda state: state.phase == "failed")
    assert state.error is not None
    assert "crashed 3 times" in state.error["message"]
    assert site.answers("1")
    site.push("3")
    assert site.answers("3")


def test_a_damaged_live_bundle_is_given_up_for_the_previous_one_at_boot(site: Site) -> None:
    agent = site.start()
    site.push("1")
    site.push("2")
    agent.kill()
    model = agent.state_dir / "current" / "bundle" / "engine" / "model.onnx"
    model.chmod(0o644)
    model.write_bytes(b"x" * model.stat().st_size)
    site.operator.states.clear()
    site.start()
    assert site.answers("1")
    state = site.operator.wait_for(lambda state: state.phase == "failed")
    assert state.error is not None
    assert "damaged on disk" in state.error["message"]


def test_logs_can_be_json_lines(site: Site) -> None:
    agent = site.start("--json")
    site.operator.wait_for_presence(lambda presence: presence.online)
    assert agent.stop() == 0
    lines = [json.loads(line) for line in agent.log]
    assert any("announced as device dev-1" in line["message"] for line in lines)


@pytest.mark.parametrize("loses_memory", [False, True])
def test_a_broker_restart_in_the_middle_of_a_push_is_survived(
    loses_memory: bool, store: Store, signer: CryptoSigner, tmp_path: Path, trust: Path, agents: list[AgentProcess]
) -> None:
    with running_broker(Settings("127.0.0.1", 0, tmp_path / "broker")) as listening:
        url, port = listening.url, listening.port
        agents.append(AgentProcess(url, tmp_path / "device", trust))
        with Operator.connected(store, url) as operator:
            operator.wait_for_presence(lambda presence: presence.online)
            bundle = make_bundle(store, tmp_path, "1", ballast=os.urandom(2_000_000))
            # assigned, but nobody serves it before the broker is back
            assignment = operator.push(bundle, sign_bundle(store, bundle, signer))
            operator.wait_for(lambda state: state.phase == "fetching")
    data = tmp_path / ("fresh-broker" if loses_memory else "broker")
    with (
        running_broker(Settings("127.0.0.1", port, data)),
        serving(store, TOPICS, BrokerUrl.parse(url)),
        Operator.connected(store, url) as operator,
    ):
        operator.wait_for_presence(lambda presence: presence.online)
        assert operator.wait_for_end(assignment).phase == "active"
        assert np.allclose(agents[0].wait_for_answer(), answer_of("1"))


def test_killed_at_any_moment_of_a_push_the_old_or_the_new_model_answers_and_at_last_the_new(site: Site) -> None:
    """SIGKILL at the first sign of each phase, and at random moments after the assignment."""
    chance = random.Random(7)
    site.start()
    site.push("100")
    old = "100"
    for number, moment in enumerate(["fetching", "testing", "switching", "active", *["random"] * times(3, 200)]):
        new = str(101 + number)
        site.operator.wait_for_presence(lambda presence: presence.online)
        assignment = site.operator.push(*site.bundle(new, ballast=1_500_000))
        if moment == "random":
            time.sleep(chance.uniform(0, 1.2))
        else:
            site.operator.wait_for(lambda s, a=assignment, m=moment: s.assignment == a.id and s.phase == m)  # type: ignore[misc]
        site.agent.kill()
        site.operator.states.clear()
        site.operator.presences.clear()
        site.start()
        assert site.answers(old, new), (moment, "".join(site.agent.log))
        state = site.operator.wait_for_end(assignment)
        assert state.phase == "active", (moment, state)
        assert site.answers(new)
        old = new


def test_capabilities_say_what_the_device_is(site: Site) -> None:
    site.start()
    inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
    topic = TOPICS.device("dev-1", "capabilities")
    link = Link(BrokerUrl.parse(site.broker), client_id="reader", subscriptions=[topic], inbox=inbox)  # type: ignore[arg-type]
    link.connect(5)
    message = inbox.get(timeout=15)
    while not isinstance(message, Message):
        message = inbox.get(timeout=15)
    link.stop()
    found = Capabilities.from_bytes(message.payload)
    assert found.device_id == "dev-1"
    assert "onnxruntime" in found.engines
    assert found.storage_bytes > 0


def _worker_of(agent: AgentProcess) -> int:
    """Process id of the agent's newest child; 0 if it has none."""
    found = [
        int(pid)
        for task in Path(f"/proc/{agent.process.pid}/task").iterdir()
        for pid in (task / "children").read_text().split()
        if "edge_agent.worker.process" in Path(f"/proc/{pid}/cmdline").read_text()
    ]
    return max(found, default=0)


def _wait(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)

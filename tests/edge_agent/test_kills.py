"""SIGKILL at random moments of a push, of whoever takes part: nothing assigned is lost, nothing else appears."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from securesystemslib.signer import CryptoSigner

from neo.contract.messages import Phase
from neo.fleet.inventory import read_inventory
from neo.fleet.records import DeviceRecord
from neo.store import Store
from tests.brokers import ROOT, RunningBroker, embedded_broker
from tests.edge_agent.devices import TOPICS, AgentProcess, answer_of, make_bundle, sign_bundle, write_public_key
from tests.thorough import times

DEVICE = "dev-1"
END_S = 90.0
BALLAST_BYTES = 1_500_000
#: longer than a push takes here, so that some come too late to matter
LATEST_S = 4.0


class Push:
    """`neo push` in a process of its own."""

    def __init__(self, store: Store, broker: RunningBroker, reference: str) -> None:
        line = ["push", reference, "--to", DEVICE, "--broker", str(broker.url), "--store", str(store.root)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "neo.cli", *line, "--timeout", str(END_S)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def end(self) -> tuple[int, str]:
        """Exit code, and what was said on stderr."""
        _, said = self.process.communicate(timeout=END_S + 30)
        return self.process.returncode, said


def record(broker: RunningBroker) -> DeviceRecord:
    return read_inventory(broker.url, TOPICS).records[DEVICE]


def settled(broker: RunningBroker) -> DeviceRecord:
    """When the device has carried out what the broker holds for it."""
    deadline = time.monotonic() + END_S
    while True:
        found = record(broker)
        told = found.told
        if found.assignment is not None and told is not None and told.assignment == found.assignment.id:
            if told.phase == Phase.ACTIVE.value:
                return found
            assert told.phase != Phase.FAILED.value, found.problems
        assert time.monotonic() < deadline, (found.assignment, told, found.problems)
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.timeout(100 + times(3, 67) * 120)
@pytest.mark.parametrize("victim", ["pusher", "broker", "agent"])
def test_whoever_is_killed_the_device_ends_with_what_is_assigned(
    victim: str, store: Store, signer: CryptoSigner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEO_FLEET_KEYS", str(tmp_path / "no keys"))
    chance = random.Random(victim)
    trust = write_public_key(signer, tmp_path / "operator.key.pub")

    def released(version: str) -> str:
        bundle = make_bundle(store, tmp_path, version, ballast=os.urandom(BALLAST_BYTES))
        sign_bundle(store, bundle, signer)
        return bundle.manifest.reference

    with embedded_broker(tmp_path / "broker", store=store.root) as broker:

        def started() -> AgentProcess:
            return AgentProcess(str(broker.url), tmp_path / "device", trust)

        agent = started()
        try:
            old = "100"
            references = {old: released(old)}
            assert _until(lambda: DEVICE in read_inventory(broker.url, TOPICS).records)
            assert Push(store, broker, references[old]).end()[0] == 0
            for number in range(times(3, 67)):
                new = str(101 + number)
                references[new] = released(new)
                push = Push(store, broker, references[new])
                time.sleep(chance.uniform(0, LATEST_S))
                if victim == "pusher":
                    push.kill()
                elif victim == "broker":
                    broker.kill()
                    broker.restart()
                else:
                    agent.kill()
                    agent = started()
                answer = agent.wait_for_answer()
                assert any(np.allclose(answer, answer_of(version)) for version in (old, new)), "".join(agent.log)
                if victim != "pusher":
                    code, said = push.end()
                    assert code == 0 or said, (number, code)
                found = settled(broker)
                assigned, told = found.assignment, found.told
                assert assigned is not None
                assert told is not None
                assert told.live is not None
                assert told.live.reference == assigned.reference
                assert assigned.reference in {references[old], references[new]}
                version = new if assigned.reference == references[new] else old
                assert np.allclose(agent.wait_for_answer(), answer_of(version))
                # whatever was lost, the same command again brings it
                code, said = Push(store, broker, references[new]).end()
                assert code == 0, said
                assert np.allclose(agent.wait_for_answer(), answer_of(new))
                old = new
        finally:
            agent.kill()


def _until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.2)
    return False

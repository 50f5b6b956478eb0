"""A real agent process, a real broker, real bundles."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from securesystemslib.signer import CryptoSigner

from neo.store import Store
from tests.edge_agent.devices import AgentProcess, Operator, answer_of, make_bundle, sign_bundle

pytestmark = pytest.mark.slow


@pytest.fixture
def agent(broker: str, tmp_path: Path, trust: Path, agents: list[AgentProcess]) -> AgentProcess:
    agents.append(AgentProcess(broker, tmp_path / "device", trust))
    return agents[0]


def test_a_pushed_bundle_answers_and_a_second_one_takes_over(
    agent: AgentProcess, operator: Operator, store: Store, signer: CryptoSigner, tmp_path: Path
) -> None:
    first = make_bundle(store, tmp_path, "1", ballast=os.urandom(3_000_000))
    state = operator.wait_for_end(operator.push(first, sign_bundle(store, first, signer)))
    assert state.phase == "active", state
    assert state.live is not None
    assert state.live.digest == first.descriptor.digest
    assert np.allclose(agent.predict(), answer_of("1"))
    second = make_bundle(store, tmp_path, "2")
    state = operator.wait_for_end(operator.push(second, sign_bundle(store, second, signer)))
    assert state.phase == "active", state
    assert np.allclose(agent.predict(), answer_of("2"))
    assert agent.stop() == 0
    operator.wait_for_presence(lambda presence: not presence.online)
    assert not (agent.state_dir / "agent.json").exists()


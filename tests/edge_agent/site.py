"""One operator and one device, for tests of the whole way."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from securesystemslib.signer import CryptoSigner

from neo.contract.messages import Assignment
from neo.contract.oci import Descriptor
from neo.store.bundles import Bundle
from tests.edge_agent.devices import AgentProcess, Operator, answer_of, make_bundle, sign_bundle


class Site:
    """One operator and one device's folder, with the agent that runs there now."""

    def __init__(self, broker: str, operator: Operator, signer: CryptoSigner, folder: Path, trust: Path) -> None:
        self.broker, self.operator, self.signer, self.folder, self.trust = broker, operator, signer, folder, trust
        self.agents: list[AgentProcess] = []

    @property
    def agent(self) -> AgentProcess:
        return self.agents[-1]

    def start(self, *extra: str, broker: str = "") -> AgentProcess:
        self.agents.append(AgentProcess(broker or self.broker, self.folder / "device", self.trust, *extra))
        return self.agent

    def bundle(self, version: str, ballast: int = 0) -> tuple[Bundle, Descriptor]:
        bundle = make_bundle(self.operator.store, self.folder, version, ballast=os.urandom(ballast))
        return bundle, sign_bundle(self.operator.store, bundle, self.signer)

    def push(self, version: str, ballast: int = 0) -> Assignment:
        """Until it is live."""
        assignment = self.operator.push(*self.bundle(version, ballast))
        state = self.operator.wait_for_end(assignment)
        assert state.phase == "active", state
        return assignment

    def answers(self, *versions: str) -> bool:
        answer = self.agent.wait_for_answer()
        return any(np.allclose(answer, answer_of(version)) for version in versions)

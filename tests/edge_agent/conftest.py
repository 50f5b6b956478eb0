from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from neo.broker.run import Settings, running_broker
from neo.fleet.source import serving
from neo.link import BrokerUrl
from neo.store import Store
from tests.brokers import BROKERS
from tests.edge_agent.devices import TOPICS, AgentProcess, Operator, write_public_key
from tests.edge_agent.site import Site


@pytest.fixture
def signer() -> CryptoSigner:
    return CryptoSigner.generate_ed25519()


@pytest.fixture
def trust(signer: CryptoSigner, tmp_path: Path) -> Path:
    return write_public_key(signer, tmp_path / "operator.pub")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """The operator's."""
    return Store(tmp_path / "operator-store")


@pytest.fixture
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Ours, in this process; indirect parametrisation gives another (a key of ``BROKERS``)."""
    if hasattr(request, "param"):
        with BROKERS[request.param](tmp_path / "broker") as running:
            yield str(running.url)
    else:
        with running_broker(Settings("127.0.0.1", 0, tmp_path / "broker")) as listening:
            yield listening.url


@pytest.fixture
def operator(store: Store, broker: str) -> Iterator[Operator]:
    with serving(store, TOPICS, BrokerUrl.parse(broker)), Operator.connected(store, broker) as operator:
        yield operator


@pytest.fixture
def agents() -> Iterator[list[AgentProcess]]:
    """Append what you start; it is killed at the end."""
    started: list[AgentProcess] = []
    yield started
    for agent in started:
        agent.kill()


@pytest.fixture
def site(
    broker: str, operator: Operator, signer: CryptoSigner, tmp_path: Path, trust: Path, agents: list[AgentProcess]
) -> Site:
    site = Site(broker, operator, signer, tmp_path, trust)
    site.agents = agents
    return site

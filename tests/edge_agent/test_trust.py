"""A device whose trust is a fleet's TUF set, and one that goes over from a key to it: real agent, real broker."""

from __future__ import annotations

from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner, Signer

from neo.fleet.clock import SYSTEM_CLOCK, random_id
from neo.fleet.transport import MqttTransport
from neo.fleet.tuf import publish
from neo.link import SYSTEM_TLS, BrokerUrl
from neo.store.bundles import Bundle
from neo.trust.tuf.keyfolder import ROLES, KeyFolder
from neo.trust.tuf.repository import Repository
from neo.trust.tuf.trusted import Release
from tests.edge_agent.devices import TOPICS
from tests.edge_agent.site import Site


class Fleet:
    def __init__(self, folder: Path, site: Site, cross_signer: Signer | None = None) -> None:
        keys = KeyFolder.create(folder, TOPICS.fleet, str)
        for role in ROLES:
            keys.make(role, None)
        self.repository = Repository(keys)
        self.repository.create({}, cross_signer)
        self.root = folder / "root.json"
        self.root.write_bytes(self.repository.root_bytes())
        self._transport = MqttTransport(BrokerUrl.parse(site.broker), SYSTEM_TLS, random_id)

    def publish(self) -> None:
        publish(self._transport, TOPICS, self.repository, clock=SYSTEM_CLOCK)

    def release(self, bundle: Bundle) -> None:
        self.repository.release(bundle.manifest.reference, Release(bundle.descriptor.digest, bundle.descriptor.size))
        self.publish()


@pytest.mark.slow
def test_a_device_with_a_root_takes_what_the_set_lists_and_nothing_else(site: Site, tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "fleet", site)
    site.trust = fleet.root
    site.start()
    state = site.operator.wait_for(lambda state: bool(state.trust))
    assert state.trust == "no TUF set was received yet"
    # signed by nobody whom the fleet knows: in the set that does not matter
    site.signer = CryptoSigner.generate_ed25519()
    bundle, envelope = site.bundle("1")
    fleet.release(bundle)
    state = site.operator.wait_for_end(site.operator.push(bundle, envelope))
    assert (state.phase, state.trust, site.answers("1")) == ("active", "", True)
    other, envelope = site.bundle("2")
    refused = site.operator.push(other, envelope)
    state = site.operator.wait_for_end(refused)
    assert state.error is not None
    assert (state.phase, state.error["error"]) == ("failed", "NotReleased")
    fleet.release(other)  # it tries again by itself
    state = site.operator.wait_for(lambda state: state.assignment == refused.id and state.phase == "active")
    assert site.answers("2")


@pytest.mark.slow
def test_a_withdrawn_release_goes_on_where_it_runs(site: Site, tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "fleet", site)
    site.trust = fleet.root
    agent = site.start()
    bundle, envelope = site.bundle("1")
    fleet.release(bundle)
    site.operator.wait_for_end(site.operator.push(bundle, envelope))
    fleet.repository.withdraw(bundle.manifest.reference)
    fleet.publish()
    assert agent.stop() == 0
    site.start()
    assert site.answers("1")


@pytest.mark.slow
def test_a_device_goes_over_from_the_key_to_the_root_that_this_key_has_signed(site: Site, tmp_path: Path) -> None:
    """And stays there: what the key alone signs is not taken any more, also after a restart."""
    agent = site.start()
    first = site.push("1")
    fleet = Fleet(tmp_path / "fleet", site, site.signer)
    second, envelope = site.bundle("2")
    fleet.release(second)
    site.operator.wait_for_end(site.operator.push(second, envelope))
    assert site.answers("2")
    for _ in range(2):
        other, envelope = site.bundle("3")
        state = site.operator.wait_for_end(site.operator.push(other, envelope))
        assert state.error is not None
        assert state.error["error"] == "NotReleased"
        assert agent.stop() == 0
        agent = site.start()
        assert site.answers("2")
    assert first.manifest.digest != second.descriptor.digest


@pytest.mark.slow
def test_a_root_that_the_key_has_not_signed_changes_nothing(site: Site, tmp_path: Path) -> None:
    site.start()
    fleet = Fleet(tmp_path / "fleet", site, CryptoSigner.generate_ed25519())
    evil, envelope = site.bundle("9")
    fleet.release(evil)
    site.push("1")
    assert site.answers("1")
    assert envelope.size > 0

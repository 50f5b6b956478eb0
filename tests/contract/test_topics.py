from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neo.contract.fields import ContractError
from neo.contract.topics import Topics
from tests.contract import strategies


@given(strategies.names, strategies.names, st.sampled_from(["state", "presence", "chunk", "roll-call"]))
def test_a_device_is_found_by_its_topics_and_no_other_fleet_sees_it(fleet: str, device: str, leaf: str) -> None:
    topics = Topics(fleet)
    assert topics.device_of(topics.device(device, leaf)) == (device, leaf)
    assert Topics(fleet[:60] + "-x").device_of(topics.device(device, leaf)) is None
    assert topics.device_of(topics.source(device, leaf)) is None
    assert topics.signed_of(topics.signed(device, leaf)) == (device, leaf)
    assert topics.signed_of(topics.device(device, leaf)) is None
    assert topics.device_of(topics.signed(device, leaf)) is None


@given(strategies.names, strategies.names)
def test_topics_fit_every_brokers_limits(fleet: str, name: str) -> None:
    topics = Topics(fleet)
    for topic in (topics.device(name, "capabilities"), topics.source(name, "presence"), topics.devices("state")):
        assert topic.isascii()
        assert topic.count("/") <= 7
        assert len(topic) <= 256


@pytest.mark.parametrize("name", ["", "+", "#", "a/b", "a+", "$SYS", "a\0"])
def test_a_name_with_a_wildcard_or_a_slash_makes_no_topic(name: str) -> None:
    with pytest.raises(ContractError):
        Topics(name)
    with pytest.raises(ContractError):
        Topics().device(name, "state")
    with pytest.raises(ContractError):
        Topics().source(name, "want")
    with pytest.raises(ContractError):
        Topics().signed(name, "report")


@given(st.text())
def test_any_topic_is_some_devices_or_nobodys(topic: str) -> None:
    assert Topics().device_of(topic) is None
    assert Topics().signed_of(topic) is None


@pytest.mark.parametrize("device", ["", "+", "a b", "a\0", "é", "a" * 65])
def test_a_topic_whose_device_has_no_proper_name_is_nobodys(device: str) -> None:
    """The broker may deliver anything; the id goes on into file names and tables."""
    assert Topics().device_of(f"neo/v1/default/device/{device}/state") is None
    assert Topics().signed_of(f"neo/v2/default/device/{device}/report") is None

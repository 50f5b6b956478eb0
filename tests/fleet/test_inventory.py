"""Folding what devices retain into records."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from neo.contract.messages import DeviceState, Presence
from neo.contract.topics import Topics
from neo.errors import BundleError
from neo.fleet.inventory import read_inventory
from neo.fleet.observe import Observer
from neo.fleet.records import DeviceRecord, Leaf
from neo.link import Message
from tests.fleet.devices import TOPICS, FakeDevice, make_capabilities


def fold_all(messages: list[Message]) -> dict[str, DeviceRecord]:
    observer = Observer(TOPICS)
    for message in messages:
        observer.observe(message)
    return dict(observer.records)


def about(device: str, leaf: str, payload: bytes) -> Message:
    return Message(TOPICS.device(device, leaf), payload, retained=True)


PAYLOADS = {
    "presence": [Presence(True, "s", 5.0).to_bytes(), b"{", b""],
    "capabilities": [make_capabilities("a").to_bytes(), make_capabilities("b").to_bytes(), b"[]"],
    "state": [DeviceState("s", "idle", "", None, 0, 0, None, "", 7.0).to_bytes(), b"\xff"],
    "assignment": [b"{}", b""],
}
_any_message = st.one_of(
    *(
        st.builds(about, st.sampled_from("abc"), st.just(leaf), st.sampled_from(payloads))
        for leaf, payloads in PAYLOADS.items()
    )
)


@given(st.lists(_any_message, max_size=12, unique_by=lambda message: message.topic), st.randoms())
def test_the_order_of_messages_does_not_matter(messages, rng):
    shuffled = list(messages)
    rng.shuffle(shuffled)
    assert fold_all(messages) == fold_all(shuffled)


@given(st.text(max_size=60) | st.sampled_from(Leaf).map(lambda leaf: TOPICS.device("a", leaf.value)), st.binary())
def test_no_message_raises(topic, payload):
    for device, record in fold_all([Message(topic, payload, retained=False)]).items():
        assert device == "a"
        assert isinstance(record.problems, tuple)


def test_a_message_that_cannot_be_read_is_a_problem_until_a_better_one_comes():
    bad = about("a", "state", b"{")
    good = about("a", "state", PAYLOADS["state"][0])
    assert any("state message cannot be read" in problem for problem in fold_all([bad])["a"].problems)
    assert not any("cannot be read" in problem for problem in fold_all([bad, good])["a"].problems)
    assert fold_all([good, bad])["a"].state is None


def test_capabilities_of_another_device_are_not_believed():
    record = fold_all([about("a", "capabilities", make_capabilities("b").to_bytes())])["a"]
    assert record.capabilities is None
    assert "those of 'b'" in record.problems[0]


def test_messages_of_another_fleet_or_with_an_impossible_id_are_no_devices():
    presence = PAYLOADS["presence"][0]
    other = Message(Topics("other").device("a", "presence"), presence, retained=True)
    impossible = Message("neo/v1/default/device/-x/presence", presence, retained=True)
    assert fold_all([other, impossible]) == {}


def test_the_error_of_a_device_is_its_problem():
    state = DeviceState("s", "failed", "x", None, 0, 0, BundleError("golden samples differ").to_json(), "", 7.0)
    record = fold_all([about("a", "presence", PAYLOADS["presence"][0]), about("a", "state", state.to_bytes())])["a"]
    assert record.problems == ("golden samples differ",)
    assert record.last_seen == 7.0
    assert record.speaks


def test_the_inventory_has_devices_that_are_on_and_that_were(broker):
    with FakeDevice(broker.url, "one"), FakeDevice(broker.url, "two", arch="aarch64"):
        pass
    with FakeDevice(broker.url, "two", arch="aarch64"):
        inventory = read_inventory(broker.url, TOPICS)
        assert (sorted(inventory.records), inventory.doubt) == (["one", "two"], "")
        one, two = inventory.records["one"], inventory.records["two"]
        assert (one.device, one.online, two.device, two.online) == ("one", False, "two", True)
        assert two.capabilities is not None
        assert two.capabilities.arch == "aarch64"
    nobody = read_inventory(broker.url, Topics("empty"))
    assert (nobody.records, nobody.is_complete) == ({}, True)


def test_twenty_thousand_devices_are_folded_without_copying_what_is_known_for_each_message():
    observer = Observer(TOPICS)
    view = observer.records
    kept = observer.observe(about("first", "presence", PAYLOADS["presence"][0]))
    for number in range(20_000):
        observer.observe(about(f"d{number}", "presence", PAYLOADS["presence"][0]))
    # the view from before the first message has them all, and the record of another device is the very same object
    assert len(view) == 20_001
    assert kept is not None
    assert view["first"] is kept.record


def test_an_empty_payload_takes_back_what_was_known_and_only_that():
    presence, state = about("a", "presence", PAYLOADS["presence"][0]), about("a", "state", PAYLOADS["state"][0])
    record = fold_all([presence, state, about("a", "state", b"")])["a"]
    assert (record.online, record.state) == (True, None)

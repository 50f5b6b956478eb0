"""The operator's side against thousands of devices in one process, and brokers that cut, hold back and forget."""

from __future__ import annotations

from pathlib import Path

import pytest

from neo.contract.messages import PHASES
from neo.errors import BundleError, DeviceError, IncompleteInventory, WaitTimeout
from neo.fleet.brokers import DROPPED_TOPIC, UPTIME_TOPIC
from neo.fleet.inventory import Inventory, inventory_over
from neo.fleet.push import PushRequest, PushResult, push_over
from neo.fleet.request import Stage
from neo.store import Store
from tests.fleet.devices import make_bundle
from tests.fleet.memory import TOPICS, MemoryBroker

ALL = ("all",)
MOSQUITTO = "mosquitto version 2.0.11"


@pytest.fixture
def loaded(store: Store, tmp_path: Path) -> Store:
    make_bundle(store, tmp_path / "b", ballast=bytes(2000))
    return store


def push_in_memory(broker: MemoryBroker, store: Store, request: PushRequest) -> PushResult:
    return push_over(
        broker, "tiny", request, store=store, watch=lambda _: None, clock=broker.clock, new_id=broker.new_id
    )


def list_devices(broker: MemoryBroker, device: str | None = None) -> Inventory:
    return inventory_over(broker, TOPICS, device=device, clock=broker.clock, new_id=broker.new_id)


def test_all_of_two_thousand_devices_get_the_bundle_through_the_real_code(loaded):
    broker = MemoryBroker()
    broker.add_devices(2000)
    result = push_in_memory(broker, loaded, PushRequest(ALL))
    result.raise_failures()
    assert len(result.outcomes) == 2000
    assert {outcome.stage for outcome in result.outcomes} == {Stage.ACTIVE}
    assert broker.published["assignment"] == 2000
    assert all(sum(map(len, device.fetched.values())) > 2000 for device in broker.devices.values())
    assert result.to_json()["complete"]


def test_a_failure_and_a_silent_device_among_many_are_told_by_name(loaded):
    broker = MemoryBroker()
    broker.add_devices(300)
    broker.devices["dev-00007"].verdict = BundleError("golden samples differ").to_json()
    broker.devices["dev-00009"].is_deaf = True
    result = push_in_memory(broker, loaded, PushRequest(ALL, timeout_s=60))
    errors = {outcome.device: outcome.error for outcome in result.outcomes if outcome.error is not None}
    assert set(errors) == {"dev-00007", "dev-00009"}
    assert "golden samples differ" in errors["dev-00007"].message
    assert isinstance(errors["dev-00009"], WaitTimeout)
    with pytest.raises(DeviceError, match="2 of 300 devices failed"):
        result.raise_failures()


def test_a_slow_broker_with_pauses_is_waited_for_to_the_last_device(loaded):
    broker = MemoryBroker(per_second=200)
    broker.add_devices(1000)
    inventory = list_devices(broker)
    assert (len(inventory.records), inventory.doubt) == (1000, "")
    assert all(record.capabilities and record.presence and record.state for record in inventory.records.values())


@pytest.mark.parametrize("version", ["", None, "other broker 1.0"])
def test_on_a_broker_whose_order_is_unknown_all_is_refused_before_anything_is_assigned(loaded, version):
    broker = MemoryBroker(version=version, overtakes=True)
    broker.add_devices(30)
    with pytest.raises(IncompleteInventory, match="30 devices may be incomplete") as caught:
        push_in_memory(broker, loaded, PushRequest(ALL))
    assert caught.value.exit_code == 55
    assert "--partial" in caught.value.hint
    assert len(caught.value.details["known"]) == 30
    assert broker.published["assignment"] == 0


def test_an_incomplete_list_can_be_accepted_and_the_result_says_so(loaded):
    broker = MemoryBroker(version="")
    broker.add_devices(5)
    result = push_in_memory(broker, loaded, PushRequest(ALL, partial=True))
    result.raise_failures()
    assert len(result.outcomes) == 5
    assert not result.to_json()["complete"]
    assert "does not say which one it is" in result.doubt


def test_named_devices_that_are_known_need_no_complete_list_and_others_are_not_called_unknown(loaded):
    broker = MemoryBroker(version="")
    broker.add_devices(5)
    push_in_memory(broker, loaded, PushRequest(("dev-00003",))).raise_failures()
    with pytest.raises(IncompleteInventory, match="unknown device other: the list of 5 devices may be incomplete"):
        push_in_memory(broker, loaded, PushRequest(("other",)))
    forced = push_in_memory(broker, loaded, PushRequest(("other",), force=True, wait=False))
    assert [outcome.stage for outcome in forced.outcomes] == [Stage.ASSIGNED]


def test_a_marker_that_does_not_come_back_leaves_a_doubt_and_no_endless_wait():
    broker = MemoryBroker(returns_markers=False)
    broker.retained["$SYS/broker/version"] = b"neo-edge broker x"
    broker.add_devices(3)
    inventory = list_devices(broker)
    assert len(inventory.records) == 3
    assert not inventory.is_complete


def mosquitto_in_memory(
    *,
    dropped_before: int,
    dropped_after: int,
    reports: bool = True,
    cut_at: int | None = None,
    drops_markers: int = 0,
):
    broker = MemoryBroker(version=MOSQUITTO, cut_at=cut_at, drops_markers=drops_markers)
    broker.retained[DROPPED_TOPIC] = b"%d" % dropped_before
    if reports:
        broker.reports = lambda: {UPTIME_TOPIC: b"10 seconds", DROPPED_TOPIC: b"%d" % dropped_after}
    return broker


def test_a_long_burst_of_mosquitto_is_whole_if_its_count_of_dropped_messages_stands_still():
    broker = mosquitto_in_memory(dropped_before=7, dropped_after=7)
    broker.add_devices(1000)
    inventory = list_devices(broker)
    assert (len(inventory.records), inventory.doubt) == (1000, "")


def test_a_burst_that_mosquitto_has_cut_is_not_taken_for_whole():
    broker = mosquitto_in_memory(dropped_before=7, dropped_after=1107, cut_at=1900)
    broker.add_devices(1000)
    assert "dropped messages while it sent these" in list_devices(broker).doubt


@pytest.mark.parametrize("left", [300, 1900])
def test_a_marker_that_was_dropped_with_the_end_of_a_burst_is_sent_again_and_the_cut_is_told(left):
    broker = mosquitto_in_memory(dropped_before=7, dropped_after=1107, cut_at=left, drops_markers=1)
    broker.add_devices(1000)
    begun = broker.now
    # also where so little is left that it passes for a short burst
    assert "dropped messages while it sent these; raise max_queued_messages" in list_devices(broker).doubt
    assert broker.now - begun < 10


def test_a_marker_that_was_lost_alone_costs_a_second_and_no_doubt():
    broker = MemoryBroker(drops_markers=1)
    broker.add_devices(20)
    begun = broker.now
    assert list_devices(broker).is_complete
    assert broker.now - begun < 3


def test_a_mosquitto_that_reports_no_counters_leaves_a_doubt_for_a_long_burst_only():
    broker = mosquitto_in_memory(dropped_before=0, dropped_after=0, reports=False)
    broker.add_devices(100)
    assert list_devices(broker).is_complete
    broker.add_devices(1000)
    assert "has not reported whether it dropped others" in list_devices(broker).doubt


def test_a_short_burst_does_not_wait_for_counters_and_the_losses_of_others_do_not_matter():
    broker = mosquitto_in_memory(dropped_before=7, dropped_after=99)
    broker.add_devices(20)
    begun = broker.now
    assert list_devices(broker).is_complete
    assert broker.now == begun


def test_the_stages_of_a_push_are_the_phases_of_a_device():
    assert {stage.value for stage in Stage} == {"assigned", *PHASES}

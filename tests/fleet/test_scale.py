"""The list of a large fleet is whole, or an error says that it is not; on brokers as they come.

``python -m benchmarks.inventory --devices 10000 --broker URL`` does the same with 10,000.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from neo.cli.__main__ import main
from neo.errors import IncompleteInventory
from neo.fleet.inventory import read_inventory
from tests.brokers import embedded_broker, mosquitto
from tests.fleet.devices import TOPICS
from tests.fleet.test_retained_order import retain

DEVICES = 1000
# as Debian ships it, but for the listener: its limits and its interval of reports are mosquitto's own
AS_SHIPPED = ("allow_anonymous true",)


def status_of(url, capsys) -> tuple[int, dict, str]:
    with pytest.raises(SystemExit) as caught:
        main(["status", "--broker", str(url), "--json"])
    said = capsys.readouterr()
    return caught.value.code, json.loads(said.out), said.err


def test_a_thousand_devices_are_all_listed_by_the_embedded_broker(tmp_path, capsys):
    with embedded_broker(tmp_path / "data") as broker:
        retain(broker.url, DEVICES)
        code, value, _ = status_of(broker.url, capsys)
    assert (code, value["complete"], len(value["devices"])) == (0, True, DEVICES)
    assert all(device["arch"] for device in value["devices"])


def test_a_thousand_devices_on_mosquitto_as_it_is_shipped_are_all_listed_or_the_list_is_an_error(tmp_path, capsys):
    with mosquitto(tmp_path / "data", lines=AS_SHIPPED) as broker:
        retain(broker.url, DEVICES)
        code, value, said = status_of(broker.url, capsys)
    whole = len(value["devices"]) == DEVICES and all(device["arch"] for device in value["devices"])
    assert (code, value["complete"]) == ((0, True) if whole else (IncompleteInventory.exit_code, False))
    assert whole or "devices may be missing" in said


@pytest.mark.parametrize("limits", [["max_queued_messages 1000000"], ["max_queued_messages 1000"]])
def test_what_a_broker_cut_is_never_called_whole(tmp_path: Path, limits: Sequence[str]):
    lines = ["allow_anonymous true", "sys_interval 1", *limits]
    with mosquitto(tmp_path / "data", lines=lines) as broker:
        retain(broker.url, DEVICES)
        for _ in range(3):
            inventory = read_inventory(broker.url, TOPICS)
            known = sum(record.capabilities is not None for record in inventory.records.values())
            assert known == DEVICES or not inventory.is_complete
    if limits == ["max_queued_messages 1000000"]:
        assert (known, inventory.doubt) == (DEVICES, "")

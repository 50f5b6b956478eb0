"""Names under which no device has spoken are told from devices."""

from __future__ import annotations

import json

import pytest

from neo.cli.__main__ import main
from neo.contract.messages import Presence
from tests.fleet.devices import TOPICS
from tests.test_link import linked


def test_a_name_that_only_others_wrote_to_is_told_from_a_device(broker, capsys):
    with linked(broker.url, name="writer") as (link, _):
        link.publish(TOPICS.device("real", "presence"), Presence(False, "s", 5.0).to_bytes(), retain=True)
        link.publish(TOPICS.device("ghost", "assignment"), b"{}", retain=True)
        link.publish(TOPICS.device("noise", "presence"), b"\x1b[31mnot JSON", retain=True)
        link.publish("neo/v1/default/device/-impossible/presence", Presence(True, "s", 5.0).to_bytes(), retain=True)
    with pytest.raises(SystemExit):
        main(["status", "--broker", str(broker.url), "--json"])
    devices = json.loads(capsys.readouterr().out)["devices"]
    assert {device["device"]: device["heard"] for device in devices} == {"ghost": False, "noise": False, "real": True}
    with pytest.raises(SystemExit):
        main(["status", "--broker", str(broker.url)])
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines if "never heard" in line} == {"ghost", "noise"}
    assert not any("\x1b" in line for line in lines)

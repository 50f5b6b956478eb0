"""`neo status` and `neo push` at a broker that does not say which one it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from neo.broker.run import Settings, running_broker
from neo.cli.__main__ import main
from neo.errors import IncompleteInventory
from neo.link import BrokerUrl
from neo.store import Store
from tests.fleet.devices import FakeDevice, make_bundle


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BrokerUrl]:
    monkeypatch.setattr("neo.broker.embedded.VERSION_TOPIC", "$SYS/elsewhere")
    with running_broker(Settings("127.0.0.1", 0, tmp_path / "broker")) as listening:
        yield BrokerUrl("127.0.0.1", listening.port)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict, str]:
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--json"])
    said = capsys.readouterr()
    assert isinstance(caught.value.code, int)
    return caught.value.code, json.loads(said.out), said.err


def test_status_shows_what_it_has_says_that_it_may_not_be_all_and_exits_with_its_own_code(url, capsys):
    with FakeDevice(url, "dev"):
        code, value, said = run(capsys, "status", "--broker", str(url))
    assert (code, [device["device"] for device in value["devices"]]) == (IncompleteInventory.exit_code, ["dev"])
    assert not value["complete"]
    assert "warning: devices may be missing, because it is not known when" in said
    code, value, said = run(capsys, "status", "dev", "--broker", str(url))
    assert (code, len(value["devices"]), said) == (0, 1, "")
    code, value, _ = run(capsys, "status", "other", "--broker", str(url))
    assert (code, value["error"]) == (IncompleteInventory.exit_code, "IncompleteInventory")


def test_push_to_all_is_refused_unless_a_part_is_enough(url, capsys, tmp_path):
    store = Store(tmp_path / "store")
    make_bundle(store, tmp_path / "b")
    push = ("push", "tiny", "--to", "all", "--broker", str(url), "--store", str(store.root))
    with FakeDevice(url, "dev"):
        code, value, _ = run(capsys, *push)
        assert (code, value["error"], value["details"]["known"]) == (55, "IncompleteInventory", ["dev"])
        code, value, said = run(capsys, *push, "--partial")
        assert (code, value["complete"], value["devices"][0]["phase"]) == (0, False, "active")
        assert "devices may be missing" in said

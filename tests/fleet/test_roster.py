"""The broker's list held against the roster: who is missing is named, and what was made up proves nothing."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neo.cli.__main__ import main
from neo.contract.messages import Presence
from neo.errors import DeviceError, IncompleteInventory
from neo.fleet.clock import SYSTEM_CLOCK, random_id
from neo.fleet.db import FleetDb, Member, Standing
from neo.fleet.forget import SIGNED_LEAVES, forget_device
from neo.fleet.inventory import Inventory, inventory_over
from neo.fleet.push import PushRequest, push_over
from neo.fleet.records import DeviceRecord
from neo.fleet.roster import Roster, hold_against
from neo.fleet.transport import MqttTransport
from neo.link import SYSTEM_TLS
from tests.fleet.devices import TOPICS, make_bundle
from tests.fleet.memory import MemoryBroker
from tests.fleet.test_retained_order import retain
from tests.test_link import linked, messages

HERE, ELSEWHERE = "here:1883", "elsewhere:1883"
KEY = b"{}"


@pytest.fixture
def book(tmp_path):
    with FleetDb.open(tmp_path / "fleet.db") as database:
        yield database


def check(broker: MemoryBroker, book: FleetDb, where: str = HERE) -> Inventory:
    inventory = inventory_over(broker, TOPICS, device=None, clock=broker.clock, new_id=broker.new_id)
    return Roster(book, "default", where, broker.clock).check(inventory)


def lose(broker: MemoryBroker, name: str) -> None:
    for leaf in ("presence", "capabilities", "state", "assignment"):
        broker.retained.pop(TOPICS.device(name, leaf), None)


def test_a_device_that_was_seen_here_and_is_not_any_more_is_named(book):
    broker = MemoryBroker()
    broker.add_devices(3)
    assert check(broker, book).absent == ()
    lose(broker, "dev-00001")
    inventory = check(broker, book)
    assert [member.device for member in inventory.absent] == ["dev-00001"]
    assert inventory.is_complete  # whoever can publish can be "seen", so it stops nobody
    assert check(broker, book, ELSEWHERE).absent == ()  # two brokers with a fleet of the same name
    assert check(MemoryBroker(), book, "third:1").absent == ()


def test_an_assignment_to_a_name_that_nobody_has_makes_no_device(book):
    broker = MemoryBroker()
    broker.publish(TOPICS.device("ghost", "assignment"), b"{}", retain=True)
    broker.publish(TOPICS.device("noise", "presence"), b"not JSON", retain=True)
    check(broker, book)
    assert book.roster("default") == {}


@pytest.mark.parametrize("version", ["", None, "other broker 1.0"])
def test_enrolled_devices_make_the_list_whole_where_the_brokers_order_is_unknown(book, version):
    broker = MemoryBroker(version=version, overtakes=True)
    broker.add_devices(3)
    for number in range(3):
        book.enrol("default", f"dev-{number:05}", KEY, 1.0)
    assert check(broker, book).doubt == ""
    lose(broker, "dev-00002")
    assert not check(broker, book).is_complete


def test_a_missing_enrolled_device_keeps_all_from_being_all(book, store, tmp_path):
    make_bundle(store, tmp_path / "b")
    broker = MemoryBroker()
    broker.add_devices(2)
    book.enrol("default", "attic", KEY, 1.0)
    roster = Roster(book, "default", HERE, broker.clock)

    def push(**options):
        return push_over(
            broker, "tiny", PushRequest(("all",), **options), store=store, watch=lambda _: None, clock=broker.clock,
            new_id=broker.new_id, roster=roster,
        )  # fmt: skip

    with pytest.raises(IncompleteInventory, match="holds nothing of attic, enrolled"):
        push()
    assert broker.published["assignment"] == 0
    result = push(partial=True)
    assert len(result.outcomes) == 2
    assert result.absent == ("attic",)
    book.revoke("default", "attic", 2.0)
    assert push().absent == ()


_names = st.sampled_from([f"d{n}" for n in range(6)])


@given(
    st.dictionaries(_names, st.tuples(st.sampled_from(Standing), st.sampled_from([HERE, ELSEWHERE]), st.booleans())),
    st.sets(_names),
    st.sampled_from(["", "cut"]),
)
def test_nobody_enrolled_is_missed_in_silence(known, heard, doubt):
    members = [
        Member(name, standing, 1.0, 1.0, broker, None, None, 5.0 if revoked else None)
        for name, (standing, broker, revoked) in known.items()
    ]
    records = {name: DeviceRecord(name, presence=Presence(True, "s", 1.0)) for name in heard}
    inventory = hold_against(Inventory(records, doubt), members, HERE)
    missed = {m.device for m in members if m.device not in heard and m.revoked_at is None}
    enrolled = {m.device for m in members if m.standing is Standing.ENROLLED and m.revoked_at is None}
    assert {member.device for member in inventory.absent} <= missed
    if missed & enrolled:
        assert not inventory.is_complete
    if doubt and not enrolled:
        assert inventory.doubt == doubt
    if not doubt and not missed & enrolled:
        assert inventory.is_complete


def test_forgetting_clears_the_broker_and_the_roster(broker, book):
    transport = MqttTransport(broker.url, SYSTEM_TLS, random_id)
    retain(broker.url, 3)
    with linked(broker.url) as (link, _):
        for name in ("d0", "d1"):
            link.publish(TOPICS.device(name, "presence"), Presence(name == "d1", "s", 1.0).to_bytes(), retain=True)
            for leaf in SIGNED_LEAVES:
                link.publish(TOPICS.signed(name, leaf), b"{}", retain=True)
    book.saw("default", ["d0", "d1"], 1.0)

    def forget(device: str, *, force: bool = False) -> bool:
        return forget_device(
            transport, TOPICS, device, book, force=force, clock=SYSTEM_CLOCK, new_id=random_id, timeout_s=10
        )

    assert forget("d0")
    with pytest.raises(DeviceError, match="d1 is online"):
        forget("d1")
    assert forget("d1", force=True)
    assert not forget("nobody")
    assert book.roster("default") == {}
    with linked(broker.url, watched=["neo/#"]) as (_, inbox):
        left = {message.topic.split("/")[4] for message in messages(inbox, quiet_s=1) if message.payload}
    assert left == {"d2"}


def test_status_names_who_was_there_before_and_forget_takes_it_off(broker, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("NEO_BROKER", str(broker.url))
    retain(broker.url, 2)

    def run(*arguments: str) -> tuple[int, dict, str]:
        with pytest.raises(SystemExit) as caught:
            main([*arguments, "--json"])
        said = capsys.readouterr()
        return caught.value.code, json.loads(said.out), said.err

    assert run("status")[1]["absent"] == []
    with linked(broker.url) as (link, _):
        for leaf in ("presence", "capabilities", "state", "assignment"):
            link.publish(TOPICS.device("d1", leaf), b"", retain=True)
    code, value, _ = run("status")
    assert (code, [member["device"] for member in value["absent"]]) == (0, ["d1"])
    assert run("status", "d1")[0] == 0
    with pytest.raises(SystemExit):
        main(["status"])
    assert "not heard" in capsys.readouterr().out
    assert run("fleet", "forget", "d1")[:2] == (0, {"device": "d1", "fleet": "default"})
    assert run("status")[1]["absent"] == []
    code, value, _ = run("fleet", "revoke", "d1")
    assert (code, value["error"]) == (DeviceError.exit_code, "DeviceError")
    assert run("fleet", "revoke", "d0")[:2] == (0, {"device": "d0", "fleet": "default"})
    assert [device["trust"] for device in run("status")[1]["devices"]] == ["revoked"]
    assert run("fleet", "forget", "d0", "--force")[0] == 0
    retain(broker.url, 1)
    assert [device["trust"] for device in run("status")[1]["devices"]] == ["unsigned"]
    code, value, _ = run("fleet", "forget", "d1")
    assert (code, value["error"]) == (DeviceError.exit_code, "DeviceError")
    damaged = tmp_path / "damaged.db"
    damaged.write_text("no database" * 100)
    code, value, said = run("status", "--db", str(damaged))
    assert (code, len(value["devices"])) == (0, 1)
    assert "not held against the roster" in said

"""`neo broker config`: what it prints holds a fleet of thousands, and keeps devices apart. With the real mosquitto."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from neo.broker.config import KINDS, render
from neo.cli.__main__ import main
from neo.contract.fields import ContractError
from neo.contract.topics import Topics
from neo.errors import BrokerError
from neo.fleet.brokers import VERSION_TOPIC
from tests.brokers import RunningBroker, mosquitto
from tests.test_link import linked, messages

TOPICS = Topics()
WORD = "secret"
USERS = ("operator", "kitchen", "cellar")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    """Mosquitto with our files, but for the certificate, which needs a host, and the places on this machine."""
    users, acl = tmp_path / "users", tmp_path / "acl"
    users.write_text("".join(f"{user}:{_hashed()}\n" for user in USERS))
    settings, rules = render("mosquitto", "default")
    acl.write_text(rules.text)
    for path in (users, acl):
        path.chmod(0o600)
    ours = ("password_file", "acl_file", "listener", "certfile", "keyfile", "persistence_location")
    lines = [line for line in settings.text.splitlines() if line.split(" ")[0] not in ours]
    with mosquitto(tmp_path / "data", lines=[*lines, f"password_file {users}", f"acl_file {acl}"]) as running:
        yield running


def _hashed() -> str:
    """The password as mosquitto_passwd writes it."""
    salt = b"12 bytes of salt"[:12]
    key = hashlib.pbkdf2_hmac("sha512", WORD.encode(), salt, 101, 64)
    return f"$7$101${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"


def url_of(broker: RunningBroker, user: str):
    return replace(broker.url, user=user, password=WORD)


def held(broker: RunningBroker, *filters: str) -> dict[str, bytes]:
    with linked(url_of(broker, "operator"), watched=filters, name="reader") as (_, inbox):
        return {message.topic: message.payload for message in messages(inbox, quiet_s=1)}


def test_a_device_speaks_for_itself_alone(broker):
    own = [TOPICS.device("kitchen", "state"), TOPICS.signed("kitchen", "report")]
    others = [
        TOPICS.device("cellar", "state"),
        TOPICS.device("cellar", "assignment"),
        TOPICS.signed("cellar", "report"),
        TOPICS.signed("cellar", "desired"),
        "neo/v2/default/tuf/timestamp",
        "neo/v2/default/blob/all/x",
        "neo/v1/default/source/s/presence",
        "neo/v1/other/device/kitchen/state",
        "neo/v1/default/device",
        "elsewhere",
    ]
    with linked(url_of(broker, "kitchen"), name="device") as (link, _):
        for topic in (*own, *others):
            link.publish(topic, b"kitchen", retain=True)
    assert set(held(broker, "neo/#")) == set(own)


def test_a_device_reads_what_it_is_told_and_what_is_for_all_and_nothing_else(broker):
    told = [
        TOPICS.device("kitchen", "assignment"),
        TOPICS.signed("kitchen", "desired"),
        "neo/v2/default/blob/all/x",
        "neo/v2/default/tuf/set",
    ]
    others = [TOPICS.device("cellar", "assignment"), TOPICS.signed("cellar", "desired")]
    with linked(url_of(broker, "operator"), name="operator") as (link, _):
        for topic in (*told, *others):
            link.publish(topic, b"1", retain=True)
    with linked(url_of(broker, "kitchen"), watched=["neo/#", *told, *others], name="kitchen") as (_, inbox):
        assert {message.topic for message in messages(inbox, quiet_s=1)} == set(told)


def test_wants_reach_the_source_and_the_operator_sees_which_broker_it_is(broker):
    with linked(url_of(broker, "operator"), "neo/+/default/source/s/want", name="s") as (_, inbox):
        with linked(url_of(broker, "kitchen"), name="kitchen") as (link, _):
            for version in ("v1", "v2"):
                link.publish(f"neo/{version}/default/source/s/want", version.encode())
        assert {message.payload for message in messages(inbox, quiet_s=1)} == {b"v1", b"v2"}
    assert held(broker, VERSION_TOPIC)[VERSION_TOPIC].startswith(b"mosquitto version")


def test_nobody_comes_in_without_a_name(broker):
    for url in (broker.url, replace(broker.url, user="stranger", password=WORD)):
        with pytest.raises(BrokerError, match="does not let"), linked(url):
            pass


def test_nine_thousand_retained_messages_are_taken_in_seconds_and_survive_a_restart(broker):
    payload = bytes(300)
    begun = time.monotonic()
    with linked(url_of(broker, "operator"), name="writer") as (link, _):
        for number in range(9000):
            while link.backlog > 200:
                time.sleep(0.001)
            link.publish(TOPICS.device(f"d{number}", "state"), payload, retain=True)
        while link.backlog:
            time.sleep(0.001)
    assert time.monotonic() - begun < 60  # 72 s with a save for each change; 2 to 5 s so
    broker.stop()
    broker.restart()
    assert len(held(broker, TOPICS.devices("state"))) == 9000


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_has_rules_for_both_versions_of_the_wire(kind, capsys, tmp_path):
    with pytest.raises(SystemExit) as caught:
        main(["broker", "config", kind, "--fleet", "plant-1", "--write", str(tmp_path / "out"), "--json"])
    value = json.loads(capsys.readouterr().out)
    assert caught.value.code == 0
    text = "".join(file["text"] for file in value["files"])
    assert "plant-1" in text
    assert "default/" not in text
    assert ("v2" in text and "v1" in text) or "v[12]" in text
    written = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert written == {Path(file["path"]).name: file["text"] for file in value["files"]}
    with pytest.raises(SystemExit):
        main(["broker", "config", kind])
    assert "device" in capsys.readouterr().out


@pytest.mark.parametrize("fleet", ["+", "#", "a/b", "", "a b", "x\ny"])
def test_a_fleet_that_may_not_stand_in_a_topic_is_refused(fleet):
    with pytest.raises(ContractError):
        render("mosquitto", fleet)

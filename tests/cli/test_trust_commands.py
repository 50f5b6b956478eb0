"""`neo keys init|rotate|revoke|threshold|export|roles`, `neo release` and `neo fleet renew` at a real broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from neo.broker.run import Settings, running_broker
from neo.contract.topics import Topics
from neo.fleet.clock import SYSTEM_CLOCK, random_id
from neo.fleet.transport import MqttTransport
from neo.fleet.tuf import _read, renewing
from neo.link import SYSTEM_TLS, BrokerUrl
from neo.store import Store
from neo.trust.keys import generate_key
from neo.trust.tuf.client import TufClient
from neo.trust.tuf.keyfolder import KeyFolder
from neo.trust.tuf.repository import Repository
from neo.trust.tuf.signers import PASSPHRASE_VARIABLE
from tests.cli.test_fleet_commands import run
from tests.fleet.devices import FakeDevice, make_bundle


@pytest.fixture(autouse=True)
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NEO_FLEET_KEYS", str(tmp_path / "keys"))
    monkeypatch.delenv(PASSPHRASE_VARIABLE, raising=False)
    return tmp_path / "keys"


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BrokerUrl]:
    with running_broker(Settings("127.0.0.1", 0, tmp_path / "broker")) as listening:
        url = BrokerUrl("127.0.0.1", listening.port)
        monkeypatch.setenv("NEO_BROKER", str(url))
        yield url


def refreshed(folder: Path, keys: Path, url: BrokerUrl) -> TufClient:
    device = TufClient(folder, (keys / "root.json").read_bytes())
    timestamp, files = _read(MqttTransport(url, SYSTEM_TLS, random_id), Topics(), SYSTEM_CLOCK)
    device.refresh(timestamp, dict(files.files))
    return device


def test_a_release_reaches_devices_and_is_taken_back(capsys, url, keys, tmp_path):
    store = Store(tmp_path / "store")
    bundles = [make_bundle(store, tmp_path / target, target=target) for target in ("board", "host")]
    assert run(capsys, "keys", "init")[0] == 0
    code, value, _ = run(capsys, "release", "tiny", "--store", str(store.root))
    names = [variant["reference"] for variant in value["variants"]]
    assert (code, names, value["published"]) == (0, ["tiny:1-board", "tiny:1-host"], True)
    assert all(variant["new"] for variant in value["variants"])
    device = refreshed(tmp_path / "device", keys, url)
    released = {name.replace("/", ":", 1): release.digest for name, release in device.trusted.releases.items()}
    assert released == {bundle.manifest.reference: bundle.descriptor.digest for bundle in bundles}
    again = run(capsys, "release", "tiny:1-host", "--store", str(store.root))[1]["variants"]
    assert [(variant["reference"], variant["new"]) for variant in again] == [("tiny:1-host", False)]
    for name in names:
        assert run(capsys, "release", name, "--withdraw")[0] == 0
    assert not refreshed(tmp_path / "device", keys, url).trusted.releases


def test_rotated_and_revoked_keys_are_followed_by_devices(capsys, url, keys, tmp_path):
    assert run(capsys, "keys", "init", "--root-keys", "3", "--root-threshold", "2")[0] == 0
    assert run(capsys, "fleet", "renew")[0] == 0
    refreshed(tmp_path / "device", keys, url)
    _, before, _ = run(capsys, "keys", "roles")
    for role in ("timestamp", "release", "assignment"):
        assert run(capsys, "keys", "rotate", role)[0] == 0
    root = before["roles"][0]["keys"][0]["keyid"]
    assert run(capsys, "keys", "revoke", root[:12])[0] == 0
    assert run(capsys, "keys", "threshold", "targets", "2", "--count", "2")[0] == 0
    code, value, _ = run(capsys, "keys", "roles")
    assert code == 0
    assert root not in [key["keyid"] for key in value["roles"][0]["keys"]]
    assert (value["roles"][1]["threshold"], len(value["roles"][1]["keys"])) == (2, 2)
    assert run(capsys, "fleet", "renew")[0] == 0
    device = refreshed(tmp_path / "device", keys, url)
    assert device.trusted.is_complete
    assert device.trusted.root_version == 4
    code, value, _ = run(capsys, "keys", "rotate", "root")
    assert (code, "root has 3 keys" in value["message"]) == (40, True)


def test_the_online_keys_alone_go_to_the_host_of_the_broker(capsys, url, keys, tmp_path):
    assert run(capsys, "keys", "init")[0] == 0
    assert run(capsys, "keys", "export", str(tmp_path / "online"), "--online")[0] == 0
    assert sorted(path.name for path in (tmp_path / "online" / "private").iterdir()) == [
        "assignment-1.pem",
        "snapshot-1.pem",
        "timestamp-1.pem",
    ]
    assert run(capsys, "fleet", "renew", "--keys", str(tmp_path / "online"))[0] == 0
    assert run(capsys, "fleet", "renew")[0] == 0
    code, value, _ = run(capsys, "keys", "rotate", "root", "--keys", str(tmp_path / "online"))
    assert (code, value["error"]) == (40, "KeyNotAtHand")
    refreshed(tmp_path / "device", keys, url)


def test_the_broker_renews_by_itself(capsys, url, keys, tmp_path):
    assert run(capsys, "keys", "init")[0] == 0
    repository = Repository(KeyFolder(keys, str))
    before = repository.roles()
    transport = MqttTransport(url, SYSTEM_TLS, random_id)
    with renewing(transport, Topics(), repository, clock=SYSTEM_CLOCK):
        deadline = SYSTEM_CLOCK.monotonic() + 30
        while not _read(transport, Topics(), SYSTEM_CLOCK)[0] and SYSTEM_CLOCK.monotonic() < deadline:
            pass
    assert repository.roles()[3].version == before[3].version + 1
    refreshed(tmp_path / "device", keys, url)


def test_keys_are_encrypted_where_the_environment_gives_the_secret(capsys, keys, monkeypatch):
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "open sesame")
    code, value, _ = run(capsys, "keys", "init")
    assert (code, value["encrypted"]) == (0, "env")
    assert all(b"ENCRYPTED" in path.read_bytes() for path in (keys / "private").iterdir())
    assert run(capsys, "keys", "rotate", "timestamp")[0] == 0
    assert b"ENCRYPTED" in (keys / "private" / "timestamp-2.pem").read_bytes()
    monkeypatch.delenv(PASSPHRASE_VARIABLE)
    code, value, _ = run(capsys, "keys", "rotate", "timestamp")
    assert (code, "there is no passphrase" in value["message"]) == (40, True)


def test_the_operators_key_becomes_the_release_key_and_signs_the_first_root(capsys, keys, tmp_path):
    key = generate_key(tmp_path / "operator.key")
    code, value, _ = run(capsys, "keys", "init", "--from", str(tmp_path / "operator.key"))
    assert (code, value["keyids"]["release"]) == (0, [key.keyid])
    assert key.keyid.encode() in (keys / "root.json").read_bytes()


def test_a_second_init_and_another_fleets_folder_are_refused(capsys, keys):
    assert run(capsys, "keys", "init")[0] == 0
    assert run(capsys, "keys", "init")[0] == 40
    code, value, _ = run(capsys, "keys", "roles", "--fleet", "other")
    assert (code, "has the keys of fleet default" in value["message"]) == (40, True)


def test_push_releases_first_where_the_release_key_is(capsys, url, keys, tmp_path, monkeypatch):
    monkeypatch.setenv("NEO_DB", str(tmp_path / "fleet.db"))
    store = Store(tmp_path / "store")
    bundle = make_bundle(store, tmp_path / "b")
    push = ("push", "tiny", "--to", "dev", "--broker", str(url), "--store", str(store.root))
    assert run(capsys, "keys", "init")[0] == 0
    with FakeDevice(url, "dev"):
        code, value, said = run(capsys, *push)
        assert (code, value["devices"][0]["phase"]) == (0, "active")
        assert "is released to fleet default" in said
        device = refreshed(tmp_path / "device", keys, url)
        assert [release.digest for release in device.trusted.releases.values()] == [bundle.descriptor.digest]
        assert "is released" not in run(capsys, *push)[2]
        assert run(capsys, "release", bundle.manifest.reference, "--withdraw")[0] == 0
        (keys / "private" / "release-1.pem").rename(tmp_path / "away.pem")
        code, value, _ = run(capsys, *push)
        assert (code, "its release key is not here" in value["message"]) == (40, True)

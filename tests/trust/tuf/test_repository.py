"""What an operator does with keys and releases, and what devices make of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from neo.contract.fields import ContractError
from neo.contract.tuf import MAX_TIMESTAMP_BYTES, TufSet
from neo.errors import TrustError
from neo.trust.tuf.keyfolder import KeyFolder
from neo.trust.tuf.repository import Repository
from neo.trust.tuf.signers import PASSPHRASE_VARIABLE, KeyNotAtHand, Passphrase
from tests.trust.tuf.fleet import Operator, a_release, no_secret


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path / "keys")


def test_a_device_learns_releases_and_assignment_keys(operator: Operator, tmp_path: Path) -> None:
    operator.repository.release("digits:1-host", a_release("one"))
    device = operator.device(tmp_path / "device")
    assert device.needs_set(operator.published()[0])
    device.refresh(*operator.published())
    assert device.trusted.releases == {"digits/1-host": a_release("one")}
    assert [key.keyid for key in device.trusted.assignment_keys] == [
        key.keyid for key in operator.repository.keys.keys_of("assignment")
    ]
    assert not device.freshness.stale
    assert not device.needs_set(operator.published()[0])
    assert len(operator.published()[0]) <= MAX_TIMESTAMP_BYTES


def test_a_renewed_timestamp_alone_is_enough(operator: Operator, tmp_path: Path) -> None:
    device = operator.device(tmp_path / "device")
    device.refresh(*operator.published())
    operator.clock.pass_days(5)
    operator.repository.renew()
    timestamp, _ = operator.published()
    assert not device.needs_set(timestamp)
    device.refresh(timestamp, {})
    assert device.trusted.timestamp == timestamp
    assert device.trusted.is_complete


def test_a_release_never_changes(operator: Operator) -> None:
    assert operator.repository.release("digits:1-host", a_release("one"))
    assert not operator.repository.release("digits:1-host", a_release("one"))
    with pytest.raises(TrustError, match="is released with the digest"):
        operator.repository.release("digits:1-host", a_release("two"))


def test_a_withdrawn_release_is_gone_on_devices(operator: Operator, tmp_path: Path) -> None:
    operator.repository.release("digits:1-host", a_release("one"))
    device = operator.device(tmp_path / "device")
    device.refresh(*operator.published())
    operator.repository.withdraw("digits:1-host")
    device.refresh(*operator.published())
    assert not device.trusted.releases


@pytest.mark.parametrize("role", ["root", "targets", "release", "snapshot", "timestamp", "assignment"])
def test_devices_follow_a_replaced_key_and_the_old_one_counts_no_more(
    operator: Operator, tmp_path: Path, role: str
) -> None:
    operator.repository.release("digits:1-host", a_release("one"))
    device = operator.device(tmp_path / "device")
    device.refresh(*operator.published())
    (old,) = operator.repository.keys.keys_of(role)
    operator.replace(role)
    operator.repository.release("digits:2-host", a_release("two"))
    timestamp, files = operator.published()
    assert device.needs_set(timestamp)
    device.refresh(timestamp, files)
    assert set(device.trusted.releases) == {"digits/1-host", "digits/2-host"}
    state = next(state for state in operator.repository.roles() if state.role == role)
    assert old.keyid not in state.keyids
    assert operator.repository.keys.records[old.keyid].retired


def test_the_delegated_role_never_keeps_its_name(operator: Operator) -> None:
    names = []
    for _ in range(3):
        names.append(sorted(name for name in operator.published()[1] if "release" in name))
        operator.replace("release")
    assert names == [["1.release-1.json"], ["1.release-2.json"], ["1.release-3.json"]]


def test_a_threshold_wants_that_many_keys(tmp_path: Path) -> None:
    operator = Operator(tmp_path / "keys", keys_of_root=3, threshold=2)
    _, second, third = operator.repository.keys.keys_of("root")
    for key in (second, third):
        path = operator.repository.keys.path(key.keyid)
        assert path is not None
        shutil.move(path, tmp_path / path.name)
    with pytest.raises(KeyNotAtHand, match="root needs 2 of its 3 keys, 1 of them at hand"):
        operator.replace("timestamp")
    path = operator.repository.keys.path(second.keyid)
    assert path is not None
    shutil.move(tmp_path / path.name, path)
    operator.replace("timestamp")


def test_the_online_keys_alone_renew(operator: Operator, tmp_path: Path) -> None:
    device = operator.device(tmp_path / "device")
    device.refresh(*operator.published())
    for role in ("root", "targets", "release"):
        for key in operator.repository.keys.keys_of(role):
            path = operator.repository.keys.path(key.keyid)
            assert path is not None
            path.unlink()
    for _ in range(4):
        operator.clock.pass_days(12)
        operator.repository.renew()
        device.refresh(*operator.published())
        assert not device.freshness.stale


def test_two_places_with_keys_take_over_what_the_other_published(operator: Operator, tmp_path: Path) -> None:
    shutil.copytree(operator.repository.keys.folder, tmp_path / "broker")
    other = Repository(KeyFolder(tmp_path / "broker", no_secret), clock=operator.clock)
    operator.repository.release("digits:1-host", a_release("one"))
    assert other.adopt(*operator.repository.published())
    other.renew()
    assert other.releases() == operator.repository.releases()
    assert not other.adopt(*operator.repository.published())


def test_what_a_stranger_published_is_not_taken_over(operator: Operator, tmp_path: Path) -> None:
    stranger = Operator(tmp_path / "stranger")
    for _ in range(3):
        stranger.repository.renew()
    assert not operator.repository.adopt(*stranger.repository.published())


def test_a_change_that_was_cut_short_is_completed_by_the_next(operator: Operator, tmp_path: Path) -> None:
    """A copy of the folder in which a random end of the newly written files is missing, for each length of that end."""
    operator.repository.release("digits:1-host", a_release("one"))
    before = tmp_path / "before"
    shutil.copytree(operator.repository.keys.metadata, before)
    device = operator.device(tmp_path / "device")
    device.refresh(*operator.published())
    operator.replace("targets")  # new root, targets, release's delegation, snapshot, timestamp
    after = {path.name: path for path in operator.repository.keys.metadata.glob("*.json")}
    changed = [
        name
        for name in ("2.root.json", "targets.json", "snapshot.json", "timestamp.json")
        if not (before / name).exists() or (before / name).read_bytes() != after[name].read_bytes()
    ]
    assert len(changed) == 4
    for written in range(len(changed)):
        copy = tmp_path / f"cut-{written}"
        shutil.copytree(operator.repository.keys.folder, copy)
        for name in changed[written:]:
            if (before / name).exists():
                shutil.copy(before / name, copy / "metadata" / name)
            else:
                (copy / "metadata" / name).unlink()
        repository = Repository(KeyFolder(copy, no_secret), clock=operator.clock)
        repository.renew()
        shutil.copytree(tmp_path / "device", tmp_path / f"device-{written}", symlinks=True)
        again = operator.device(tmp_path / f"device-{written}", root=(before / "1.root.json").read_bytes())
        timestamp, files = repository.published()
        again.refresh(timestamp, dict(files.files))
        assert again.trusted.is_complete


def test_encrypted_keys_sign_with_the_passphrase_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSPHRASE_VARIABLE, raising=False)
    KeyFolder.create(tmp_path / "keys", "default", no_secret)
    asked: list[str] = []

    def ask(what: str) -> str:
        asked.append(what)
        return "open sesame"

    keys = KeyFolder(tmp_path / "keys", Passphrase("default", ask))
    key = keys.make("root", "open sesame")
    path = keys.path(key.keyid)
    assert path is not None
    assert b"ENCRYPTED" in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    keys.signer(key.keyid).sign(b"data")
    keys.signer(key.keyid).sign(b"data")
    assert len(asked) == 1
    with pytest.raises(TrustError, match="there is no passphrase"):
        KeyFolder(tmp_path / "keys", Passphrase("default", None)).signer(key.keyid)
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "wrong")
    with pytest.raises(TrustError, match="cannot be used"):
        KeyFolder(tmp_path / "keys", Passphrase("default", None)).signer(key.keyid)
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "open sesame")
    KeyFolder(tmp_path / "keys", Passphrase("default", None)).signer(key.keyid).sign(b"data")


def test_a_key_of_an_hsm_is_a_uri(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signer of another scheme, as securesystemslib's for PKCS#11 or a cloud."""
    from securesystemslib.signer import SIGNER_FOR_URI_SCHEME, CryptoSigner

    hsm = CryptoSigner.generate_ecdsa()

    class Hsm(CryptoSigner):
        @classmethod
        def from_priv_key_uri(cls, priv_key_uri, *_args):
            assert priv_key_uri == "slot:7"
            return hsm

    monkeypatch.setitem(SIGNER_FOR_URI_SCHEME, "slot", Hsm)
    operator.repository.keys.bring("timestamp", hsm.public_key, "slot:7")
    operator.repository.replace_key("timestamp", None, hsm.public_key)
    assert hsm.public_key.keyid.encode() in operator.published()[0]


def test_a_set_that_does_not_fit_is_an_error_that_says_so(operator: Operator) -> None:
    files = {f"{n}.root.json": b"x" * 20_000 for n in range(1, 7)}
    with pytest.raises(ContractError, match="at most 102400 bytes"):
        TufSet(files).to_bytes()


def test_no_key_is_ever_overwritten_or_brought_back(operator: Operator) -> None:
    (old,) = operator.repository.keys.keys_of("timestamp")
    operator.replace("timestamp")
    with pytest.raises(TrustError, match="is a timestamp key of this fleet already"):
        operator.repository.keys.bring("timestamp", old, "file:private/timestamp-1.pem")
    with pytest.raises(TrustError, match="has keys already"):
        KeyFolder.create(operator.repository.keys.folder, "default", no_secret)


def test_metadata_says_when_it_was_signed_and_parses_as_plain_tuf(operator: Operator) -> None:
    timestamp, files = operator.published()
    for data in (timestamp, *files.values()):
        assert json.loads(data)["signed"]["x-neo-edge-signed-at"] == int(operator.clock.now.timestamp())


def test_an_operator_killed_at_any_moment_leaves_a_folder_that_goes_on(tmp_path: Path) -> None:
    """Real processes, killed from inside at the nth durable write."""
    program = (
        "import os, sys, signal\n"
        "import neo.durable as durable, neo.trust.tuf.repository as r, neo.trust.tuf.keyfolder as k\n"
        "left = int(sys.argv[2])\n"
        "real = durable.replace_file\n"
        "def counting(*args):\n"
        "    global left\n"
        "    if left == 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    left -= 1\n"
        "    real(*args)\n"
        "r.replace_file = k.replace_file = counting\n"
        "import neo.trust.tuf.signers as s, neo.trust.tuf.files as f; s.replace_file = f.replace_file = counting\n"
        "from pathlib import Path\n"
        "keys = k.KeyFolder(Path(sys.argv[1]), str)\n"
        "repository = r.Repository(keys)\n"
        "repository.replace_key('release', None, keys.make('release', None))\n"
    )
    from neo.trust.tuf.clock import now

    operator = Operator(tmp_path / "keys")
    operator.clock.now = now()
    operator.repository.release("digits:1-host", a_release("one"))
    killed = 0
    for writes in range(12):
        copy = tmp_path / f"keys-{writes}"
        shutil.copytree(operator.repository.keys.folder, copy)
        ended = subprocess.run(
            [sys.executable, "-c", program, str(copy), str(writes)],
            env={**os.environ, "PYTHONPATH": str(Path.cwd())},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode in (0, -9), ended.stderr
        killed += ended.returncode == -9
        repository = Repository(KeyFolder(copy, no_secret))
        repository.renew()
        device = operator.device(tmp_path / f"device-{writes}")
        device._clock = now
        timestamp, files = repository.published()
        device.refresh(timestamp, dict(files.files))
        assert device.trusted.releases == {"digits/1-host": a_release("one")}
        if ended.returncode == 0:
            break
    assert killed >= 6

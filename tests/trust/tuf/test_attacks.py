"""The attacks that TUF is about, by somebody who can send devices whatever he likes: the broker."""

from __future__ import annotations

import json
import os
import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tuf.api.metadata import Metadata, Timestamp

from neo.contract.fields import ContractError
from neo.contract.tuf import MAX_SET_BYTES, TufSet
from neo.contract.versions import NewerFormat
from neo.errors import TrustError
from neo.trust.tuf.client import StaleTrust, TufClient
from neo.trust.tuf.clock import trusted_time
from tests.trust.tuf.fleet import START, Clock, Operator, a_release


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    operator = Operator(tmp_path / "keys")
    operator.repository.release("digits:1-host", a_release("one"))
    return operator


@pytest.fixture
def device(operator: Operator, tmp_path: Path) -> TufClient:
    device = operator.device(tmp_path / "device")
    device.refresh(*operator.published())
    return device


def test_arbitrary_software_of_another_operator_is_refused(
    operator: Operator, device: TufClient, tmp_path: Path
) -> None:
    stranger = Operator(tmp_path / "stranger", operator.clock)
    for _ in range(5):
        stranger.repository.renew()
    stranger.repository.release("digits:1-host", a_release("evil"))
    before = device.trusted
    with pytest.raises(TrustError, match="not trusted"):
        device.refresh(*stranger.published())
    assert device.trusted == before


def test_a_rollback_to_older_metadata_is_refused(operator: Operator, device: TufClient) -> None:
    old = operator.published()
    operator.repository.withdraw("digits:1-host")
    device.refresh(*operator.published())
    with pytest.raises(TrustError, match="not trusted"):
        device.refresh(*old)
    assert not device.trusted.releases


def test_a_rollback_is_refused_after_a_restart_too(operator: Operator, device: TufClient, tmp_path: Path) -> None:
    old = operator.published()
    operator.repository.withdraw("digits:1-host")
    device.refresh(*operator.published())
    again = operator.device(tmp_path / "device")
    with pytest.raises(TrustError, match="not trusted"):
        again.refresh(*old)
    assert not again.trusted.releases


def test_a_freeze_is_told_within_one_period_and_stops_nothing(operator: Operator, device: TufClient) -> None:
    withheld = operator.published()
    operator.clock.pass_days(13)
    assert not device.freshness.stale
    operator.clock.pass_days(1.1)
    device.refresh(*withheld)
    assert "expired" in device.freshness.stale
    assert device.trusted.releases


def test_a_stale_set_changes_nobodys_trust(operator: Operator, device: TufClient) -> None:
    operator.repository.release("digits:2-host", a_release("two"))
    withheld = operator.published()
    operator.clock.pass_days(15)
    with pytest.raises(StaleTrust):
        device.refresh(*withheld)
    assert set(device.trusted.releases) == {"digits/1-host"}
    operator.repository.renew()
    device.refresh(*operator.published())
    assert set(device.trusted.releases) == {"digits/1-host", "digits/2-host"}


def test_a_fast_forward_with_a_stolen_key_ends_with_that_key(operator: Operator, device: TufClient) -> None:
    timestamp, files = operator.published()
    metadata = Metadata[Timestamp].from_bytes(timestamp)
    metadata.signed.version = 1 << 40
    (key,) = operator.repository.keys.keys_of("timestamp")
    metadata.sign(operator.repository.keys.signer(key.keyid))
    device.refresh(metadata.to_bytes(), files)
    operator.repository.release("digits:2-host", a_release("two"))
    with pytest.raises(TrustError):
        device.refresh(*operator.published())
    operator.replace("timestamp")
    device.refresh(*operator.published())
    assert "digits/2-host" in device.trusted.releases


def copied(device: TufClient, folder: Path) -> TufClient:
    """The device as it was, for one attempt more."""
    shutil.copytree(device._folder, folder, symlinks=True)
    return TufClient(folder, clock=device._clock)


def test_files_of_different_states_do_not_mix(operator: Operator, device: TufClient, tmp_path: Path) -> None:
    _, old = operator.published()
    operator.repository.release("digits:2-host", a_release("two"))
    timestamp, new = operator.published()
    for name in new:
        role = name.split(".", 1)[1]
        previous = next((data for other, data in old.items() if other.split(".", 1)[1] == role), b"")
        if previous != new[name]:
            attempt = copied(device, tmp_path / name)
            with pytest.raises(TrustError):
                attempt.refresh(timestamp, {**new, name: previous})
            assert set(attempt.trusted.releases) == {"digits/1-host"}
    device.refresh(timestamp, new)
    assert "digits/2-host" in device.trusted.releases


def test_a_set_that_comes_late_or_in_part_is_waited_for(operator: Operator, device: TufClient, tmp_path: Path) -> None:
    operator.repository.release("digits:2-host", a_release("two"))
    timestamp, files = operator.published()
    for missing in (name for name in files if "root" not in name and "targets" not in name):
        attempt = copied(device, tmp_path / missing)
        with pytest.raises(TrustError, match="not whole"):
            attempt.refresh(timestamp, {name: data for name, data in files.items() if name != missing})
        assert "not come yet" in attempt.freshness.stale
        assert attempt.needs_set(timestamp)
        assert set(attempt.trusted.releases) == {"digits/1-host"}
        attempt.refresh(timestamp, files)
        assert not attempt.freshness.stale


@pytest.mark.parametrize("role", ["targets", "release", "assignment"])
def test_a_stolen_key_counts_no_more_once_it_is_replaced(
    operator: Operator, device: TufClient, tmp_path: Path, role: str
) -> None:
    """The thief has a copy of everything, up to the replacement."""
    thief = tmp_path / "thief"
    shutil.copytree(operator.repository.keys.folder, thief)
    operator.replace(role)
    device.refresh(*operator.published())
    keys = device.trusted.assignment_keys
    from neo.trust.tuf.keyfolder import KeyFolder
    from neo.trust.tuf.repository import Repository

    evil = Repository(KeyFolder(thief, str), clock=operator.clock)
    for number in range(5):
        evil.release(f"evil:{number}-host", a_release("evil"))
    timestamp, files = evil.published()
    with pytest.raises(TrustError):
        device.refresh(timestamp, dict(files.files))
    assert set(device.trusted.releases) == {"digits/1-host"}
    assert device.trusted.assignment_keys == keys


def test_the_last_metadata_of_a_replaced_targets_key_is_not_believed_any_more(
    operator: Operator, device: TufClient
) -> None:
    """The thief's set is what the device has, and he withholds everything but the new root."""
    operator.replace("targets")
    _, files = operator.published()
    with pytest.raises(TrustError):
        device.refresh(b"{}", {name: data for name, data in files.items() if "root" in name})
    assert device.trusted.root_version == 2
    assert not device.trusted.releases
    device.refresh(*operator.published())
    assert device.trusted.releases


def test_away_for_six_months_updates_at_the_first_connection(operator: Operator, device: TufClient) -> None:
    for _ in range(18):
        operator.clock.pass_days(10)
        operator.repository.renew()
    operator.replace("root")
    operator.replace("timestamp")
    device.refresh(*operator.published())
    assert not device.freshness.stale
    assert device.trusted.root_version == 3


@pytest.mark.parametrize(
    ("clock", "side"), [(datetime(1970, 1, 1, tzinfo=timezone.utc), "before"), (START + timedelta(days=4000), "after")]
)
def test_a_wrong_clock_is_not_believed_and_said(operator: Operator, tmp_path: Path, clock: datetime, side: str) -> None:
    wrong = Clock(clock)
    device = operator.device(tmp_path / "wrong", clock=wrong)
    device.refresh(*operator.published())
    assert device.trusted.releases
    assert side in device.freshness.clock
    old = operator.published()
    operator.repository.withdraw("digits:1-host")
    device.refresh(*operator.published())
    with pytest.raises(TrustError):
        device.refresh(*old)
    wrong.now = operator.clock.now  # the time server has answered; no restart
    assert not device.freshness.clock
    operator.repository.renew()
    device.refresh(*operator.published())


@pytest.mark.parametrize(
    ("days", "believed", "at_days"),
    [(-1, False, 0), (-0.001, True, 0), (0, True, 0), (729, True, 729), (731, False, 0), (30_000, False, 0)],
)
def test_the_rule_about_clocks(days: float, believed: bool, at_days: float) -> None:
    time = trusted_time(START + timedelta(days=days), START)
    assert (not time.doubt, time.at) == (believed, START + timedelta(days=at_days))


def test_everything_expired_stops_changes_only(operator: Operator, device: TufClient) -> None:
    operator.clock.pass_days(500)  # within what a clock is believed
    operator.repository.release("digits:2-host", a_release("two"))
    withheld = operator.published()
    operator.clock.pass_days(100)
    with pytest.raises(StaleTrust):
        device.refresh(*withheld)
    assert device.freshness.stale
    assert device.trusted.releases
    assert device.trusted.assignment_keys


def test_deep_and_huge_json_is_refused(operator: Operator, device: TufClient) -> None:
    timestamp, files = operator.published()
    before = device.trusted
    for bad in (
        b"[" * 50_000,
        b'{"signed":' * 500 + b"1" + b"}" * 500,
        b'{"signatures":[],"signed":' + b"9" * 5000 + b"}",
        b"\xff\xfe{}",
        b"",
        b"null",
        timestamp[:-1],
        timestamp + b" " * MAX_SET_BYTES,
    ):
        with pytest.raises(TrustError):
            device.refresh(bad, files)
        with pytest.raises(TrustError):
            device.refresh(timestamp + b" ", {**files, "9.root.json": bad, "2.root.json": bad})
    assert device.trusted == before


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_bytes_that_are_no_set_are_refused(data: bytes) -> None:
    with pytest.raises(ContractError):
        TufSet.from_bytes(data)
    with pytest.raises(ContractError):
        TufSet.from_bytes(b"NTS1" + data)


def test_an_endless_set_is_refused_by_its_size(operator: Operator) -> None:
    with pytest.raises(ContractError, match="at most"):
        TufSet.from_bytes(b"NTS1" + b"x" * MAX_SET_BYTES)
    with pytest.raises(NewerFormat):
        TufSet.from_bytes(b"NTS2" + b"x" * 100)


def test_a_forged_timestamp_costs_no_write(operator: Operator, device: TufClient, tmp_path: Path) -> None:
    timestamp, files = operator.published()
    value = json.loads(timestamp)
    value["signed"]["version"] += 5
    before = (tmp_path / "device" / "current").readlink()
    with pytest.raises(TrustError):
        device.refresh(json.dumps(value).encode(), files)
    assert (tmp_path / "device" / "current").readlink() == before


def test_a_power_cut_at_any_write_leaves_the_old_or_the_new(
    operator: Operator, device: TufClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of the folder is made before each call that makes something durable, with half of the file that it is
    about cut away: what is not synced may be lost.
    """
    folder = tmp_path / "device"
    operator.replace("timestamp")
    operator.repository.release("digits:2-host", a_release("two"))
    cuts: list[Path] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        cut = tmp_path / f"cut-{len(cuts)}"
        shutil.copytree(folder, cut, symlinks=True)
        name = Path(f"/proc/self/fd/{fd}").readlink()
        if name.is_file() and name.is_relative_to(folder):
            lost = cut / name.relative_to(folder)
            lost.write_bytes(lost.read_bytes()[: name.stat().st_size // 2])
        cuts.append(cut)
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    device.refresh(*operator.published())
    monkeypatch.undo()
    assert len(cuts) >= 8
    first_root = (folder / "current" / "root_history" / "1.root.json").read_bytes()
    for cut in cuts:
        again = TufClient(cut, first_root, clock=operator.clock)
        assert set(again.trusted.releases) in ({"digits/1-host"}, {"digits/1-host", "digits/2-host"})
        assert again.trusted.is_complete
        again.refresh(*operator.published())
        assert "digits/2-host" in again.trusted.releases


def test_another_root_in_the_settings_begins_anew(operator: Operator, device: TufClient, tmp_path: Path) -> None:
    other = Operator(tmp_path / "other", operator.clock)
    moved = TufClient(tmp_path / "device", other.repository.root_bytes(), clock=operator.clock)
    assert not moved.trusted.releases
    moved.refresh(*other.published())
    assert moved.trusted.is_complete


def test_a_device_goes_on_without_the_root_it_was_given(operator: Operator, device: TufClient, tmp_path: Path) -> None:
    assert TufClient(tmp_path / "device", clock=operator.clock).trusted == device.trusted
    with pytest.raises(TrustError, match="no trusted root"):
        TufClient(tmp_path / "nothing", clock=operator.clock)
    with pytest.raises(TrustError, match="no root metadata"):
        TufClient(tmp_path / "nothing", b"{}", clock=operator.clock)

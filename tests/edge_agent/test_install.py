from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.install.table import (
    TRANSITIONS,
    InstallEvent,
    InstallRecord,
    is_worth_retrying,
    next_phase,
    read_record,
    write_record,
)
from neo.contract.fields import ContractError
from neo.contract.messages import Assignment, Phase
from neo.contract.oci import Descriptor
from neo.errors import BundleError, DiskFull, NeoError, StoreError, TransferError, TrustError

DESCRIPTOR = Descriptor("a/b", "sha256:" + "1" * 64, 10)
ASSIGNMENT = Assignment("id-1", "tiny:1-host", DESCRIPTOR, DESCRIPTOR, "src", 1.0)


def test_the_way_to_active_is_fetching_testing_switching() -> None:
    phase = Phase.IDLE
    for event, after in [
        (InstallEvent.ASSIGNED, Phase.FETCHING),
        (InstallEvent.FETCHED, Phase.TESTING),
        (InstallEvent.TESTED, Phase.SWITCHING),
        (InstallEvent.SWITCHED, Phase.ACTIVE),
    ]:
        found = next_phase(phase, event)
        assert found == after
        phase = found


@pytest.mark.parametrize("phase", list(Phase))
def test_a_new_assignment_is_taken_up_in_every_phase(phase: Phase) -> None:
    assert next_phase(phase, InstallEvent.ASSIGNED) == Phase.FETCHING
    assert next_phase(phase, InstallEvent.ALREADY_LIVE) == Phase.ACTIVE
    assert next_phase(phase, InstallEvent.WITHDRAWN) == Phase.IDLE


@pytest.mark.parametrize("phase", [Phase.FETCHING, Phase.TESTING, Phase.SWITCHING])
def test_whatever_is_under_way_can_fail(phase: Phase) -> None:
    assert next_phase(phase, InstallEvent.FAILED) == Phase.FAILED


def test_nothing_becomes_active_without_a_test_and_a_switch() -> None:
    ways = {
        pair
        for pair, after in TRANSITIONS.items()
        if after == Phase.ACTIVE and pair[1] is not InstallEvent.ALREADY_LIVE
    }
    assert ways == {(Phase.SWITCHING, InstallEvent.SWITCHED)}
    assert {pair for pair, after in TRANSITIONS.items() if after == Phase.SWITCHING} == {
        (Phase.TESTING, InstallEvent.TESTED)
    }


def test_every_phase_and_every_event_is_in_the_table() -> None:
    assert {event for _, event in TRANSITIONS} == set(InstallEvent)
    assert {phase for phase, _ in TRANSITIONS} == set(Phase) == set(TRANSITIONS.values())


def test_late_news_of_an_install_that_is_over_is_ignored() -> None:
    for event in (InstallEvent.FETCHED, InstallEvent.TESTED, InstallEvent.SWITCHED, InstallEvent.FAILED):
        for phase in (Phase.IDLE, Phase.ACTIVE, Phase.FAILED):
            assert next_phase(phase, event) is None


def test_only_what_may_pass_by_itself_is_retried() -> None:
    assert all(map(is_worth_retrying, [TransferError("x"), DiskFull("x"), StoreError("x")]))
    assert not any(map(is_worth_retrying, [TrustError("x"), BundleError("x"), NeoError("x"), ContractError("x")]))


@given(
    phase=st.sampled_from(list(Phase)),
    error=st.sampled_from([None, TrustError("no", hint="sign"), DiskFull("full")]),
    retries=st.integers(0, 100),
)
def test_a_record_comes_back_as_it_was(phase: Phase, error: NeoError | None, retries: int) -> None:
    record = InstallRecord(phase, ASSIGNMENT, error, retries)
    again = InstallRecord.from_bytes(record.to_bytes())
    assert (again.phase, again.assignment, again.retries) == (phase, ASSIGNMENT, retries)
    assert type(again.error) is type(error)
    assert again.will_retry == (phase == Phase.FAILED and isinstance(error, DiskFull))


@given(st.binary(max_size=200))
def test_a_damaged_record_is_a_contract_error(data: bytes) -> None:
    with pytest.raises(ContractError):
        InstallRecord.from_bytes(data)


def test_a_device_that_never_installed_has_a_fresh_record(tmp_path: Path) -> None:
    assert read_record(tmp_path / "install.json") == InstallRecord()
    write_record(tmp_path / "install.json", InstallRecord(Phase.FETCHING, ASSIGNMENT))
    assert read_record(tmp_path / "install.json").is_under_way

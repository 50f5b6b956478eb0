"""The installer in the agent's loop: how long it tries, and what it says when."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

import edge_agent.install.installer
from edge_agent.install.download import Download
from edge_agent.install.installer import RECORD_FILE, RETRY_CAP_S
from edge_agent.install.table import InstallRecord, read_record, write_record
from neo.contract.messages import Phase
from neo.errors import DiskFull, StoreError, TransferError
from tests.edge_agent.devices import make_assignment, make_bundle, sign_bundle
from tests.edge_agent.rig import Rig
from tests.edge_agent.workers import PASSES


@pytest.mark.parametrize("error", [TransferError("nothing came"), DiskFull("no room"), StoreError("no disk")])
def test_a_device_that_was_off_the_line_for_a_month_goes_on(
    tmp_path: Path, signer: CryptoSigner, error: Exception
) -> None:
    """A month at the longest delay is 9,000 retries; that of the next one is as long as that of the tenth."""
    rig = Rig(tmp_path, signer, PASSES)
    bundle = make_bundle(rig.operator, tmp_path, "1")
    assignment = make_assignment(bundle, sign_bundle(rig.operator, bundle, signer), "src")
    write_record(rig.state_dir / RECORD_FILE, InstallRecord(Phase.FAILED, assignment, error, retries=9_000))  # type: ignore[arg-type]
    rig = Rig(tmp_path, signer, PASSES)
    rig.answers_wants = False
    with rig.running():
        rig.wait_for(lambda state: state.phase == "failed")
        for count in range(9_001, 9_004):
            rig.skip(RETRY_CAP_S + 1)
            rig.wait_for(lambda state: state.phase == "fetching")
            time.sleep(0.3)
            rig.skip(61)  # the fetch gives up
            rig.wait_for(lambda state: state.phase == "failed")
            assert read_record(rig.state_dir / RECORD_FILE).retries == count
        rig.answers_wants = True
        rig.skip(RETRY_CAP_S + 1)
        assert rig.wait_for_end(assignment).phase in ("failed", "active")
        rig.wait_for(lambda state: state.phase == "active")


def test_no_phase_is_said_before_it_is_on_the_disk(
    tmp_path: Path, signer: CryptoSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, signer, PASSES)
    written: list[str] = []
    too_early: list[str] = []

    def write(path: Path, record: InstallRecord) -> None:
        time.sleep(0.2)
        too_early.extend(state.phase for state in rig.states if state.assignment and state.phase not in written)
        write_record(path, record)
        written.append(record.phase.value)

    monkeypatch.setattr(edge_agent.install.installer, "write_record", write)
    with rig.running():
        rig.push("1")
    assert written == ["fetching", "testing", "switching", "active"]
    assert too_early == []
    said = [state.phase for state in rig.states if state.assignment]
    assert list(dict.fromkeys(said)) == written


def test_an_assignment_that_comes_during_a_switch_follows_it(
    tmp_path: Path, signer: CryptoSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, signer, PASSES)
    switch = rig.slots.switch
    later: list[object] = []

    def slow_switch(digest: str) -> None:
        if not later:
            later.append(rig.assign("2"))
            time.sleep(1.5)
        switch(digest)

    monkeypatch.setattr(rig.slots, "switch", slow_switch)
    with rig.running():
        first = rig.assign("1")
        state = rig.wait_for(lambda state: state.live is not None and state.phase == "active")
        assert state.assignment == later[0].id  # type: ignore[attr-defined]
        assert state.live is not None
        assert rig.slots.previous == first.manifest.digest
        assert rig.slots.current == state.live.digest == later[0].manifest.digest  # type: ignore[attr-defined]


def test_workers_that_are_not_needed_any_more_are_stopped(tmp_path: Path, signer: CryptoSigner) -> None:
    rig = Rig(tmp_path, signer, PASSES)
    pids = []
    with rig.running():
        for version in ("1", "2"):
            rig.push(version)
            assert rig.serving.model is not None
            pids.append(rig.serving.model.worker.pid)
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_fetch_that_waits_for_its_source_does_not_keep_the_processor_busy(
    tmp_path: Path, signer: CryptoSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds: list[float] = []
    run_round = Download._round

    def counting(download: Download, chunks: object, now: float, *, reconnected: bool) -> object:
        rounds.append(now)
        return run_round(download, chunks, now, reconnected=reconnected)  # type: ignore[arg-type]

    monkeypatch.setattr(Download, "_round", counting)
    rig = Rig(tmp_path, signer, PASSES)
    rig.answers_wants = False
    with rig.running():
        rig.assign("1")
        rig.wait_for(lambda state: state.phase == "fetching")
        before = len(rounds)
        time.sleep(2)
        assert 0 < len(rounds) - before <= 25


@pytest.mark.parametrize("lie", ["the signature of another bundle", "another name"])
def test_an_assignment_of_the_live_bundle_with_what_its_signature_does_not_say_is_refused(
    tmp_path: Path, signer: CryptoSigner, lie: str
) -> None:
    rig = Rig(tmp_path, signer, PASSES)
    with rig.running():
        first = rig.push("1")
        live = rig.push("2")
        changes = {"signature": first.signature} if lie.startswith("the signature") else {"reference": "tiny:9-host"}
        mixed = replace(live, id="mixed", **changes)  # type: ignore[arg-type]
        rig.skip(1)
        rig.send("assignment", mixed.to_bytes())
        state = rig.wait_for_end(mixed)
        assert state.phase == "failed"
        assert state.error is not None
        assert state.error["error"] == "TrustError"
        assert state.live is not None
        assert (state.live.digest, state.live.reference) == (live.manifest.digest, "tiny:2-host")

"""The device's key and the numbers of its reports outlive the process, the power and a wrong clock."""

from __future__ import annotations

import json
import os
import random
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from edge_agent.core.device_key import DAMAGED_KEY_FILE, EPOCH_FILE, KEY_FILE, MAX_EPOCH, open_device_key
from edge_agent.core.reports import Reporter
from neo.contract.messages import DeviceState, Live
from neo.trust.documents import open_report
from tests.edge_agent.rig import Rig

STATE = DeviceState("s", "idle", "", None, 0, 0, None, "http://here", 6.0)


def test_the_key_is_made_once_and_nobody_else_may_read_it(tmp_path: Path):
    first = open_device_key(tmp_path)
    again = open_device_key(tmp_path)
    assert first.signer.public_key == again.signer.public_key
    assert again.notes == ()
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize("clocks", [(100.0, 50.0), (1.8e9, 0.0), (0.0, 0.0), (5e9, 5e9), (-1.0, 1e300), (7.0, 7.0)])
def test_numbers_rise_over_a_restart_whatever_the_clock_says(tmp_path: Path, clocks: tuple[float, float]):
    numbers = []
    for clock in clocks:
        key = open_device_key(tmp_path, lambda clock=clock: clock)
        reporter = Reporter("default", "kitchen", key)
        numbers += [open_report(reporter.sign(STATE, None)).report.sequence for _ in range(3)]
    assert numbers == sorted(set(numbers))


def test_a_count_that_was_lost_or_damaged_is_replaced_by_the_clock(tmp_path: Path):
    first = open_device_key(tmp_path, lambda: 1000.0)
    for damage in (b"", b"{", b'{"schema":2,"epoch":-1}', json.dumps({"schema": 2, "epoch": MAX_EPOCH * 2}).encode()):
        (tmp_path / EPOCH_FILE).write_bytes(damage)
        key = open_device_key(tmp_path, lambda: 1001.0)
        assert key.first_sequence > first.first_sequence
        assert key.first_sequence < 1 << 63
        assert key.signer.public_key == first.signer.public_key


@pytest.mark.parametrize("loss", ["damaged", "lost"])
def test_a_key_that_is_gone_is_replaced_and_that_is_told(tmp_path: Path, loss: str):
    first = open_device_key(tmp_path)
    if loss == "damaged":
        (tmp_path / KEY_FILE).write_bytes(b"\0" * 119)
    else:
        (tmp_path / KEY_FILE).unlink()
    second = open_device_key(tmp_path)
    assert second.signer.public_key != first.signer.public_key
    assert loss in " ".join(second.notes)
    report = open_report(Reporter("default", "kitchen", second).sign(STATE, None)).report
    assert loss in " ".join(report.notes)
    assert (tmp_path / DAMAGED_KEY_FILE).exists() == (loss == "damaged")
    assert open_device_key(tmp_path).notes == ()


def test_an_agent_that_never_had_a_key_has_lost_none(tmp_path: Path):
    (tmp_path / "install.json").write_text("{}")
    assert open_device_key(tmp_path).notes == ()


def test_where_no_key_can_be_written_nothing_is_signed_and_the_agent_goes_on(tmp_path: Path):
    key = open_device_key(tmp_path / "missing" / "folder")
    assert Reporter("default", "kitchen", key).sign(STATE, None) is None


def test_killed_at_any_moment_the_key_stays_and_numbers_rise(tmp_path: Path):
    """Each run opens the key again and again, and says what it has; the next one must not say less or another."""
    program = (
        "import sys; from pathlib import Path; from edge_agent.core.device_key import open_device_key\n"
        "while True:\n"
        "    key = open_device_key(Path(sys.argv[1]), lambda: 0.0)\n"
        "    assert not key.notes, key.notes\n"
        "    print(key.epoch, key.signer.public_key.keyid, flush=True)\n"
    )
    rng, said, environment = random.Random(15), [], {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    for _ in range(6):
        command = [sys.executable, "-c", program, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            said.append(process.stdout.readline().split())
            time.sleep(rng.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read()
            # killed in the middle of a line, it has not said it
            said += [line.split() for line in rest[: rest.rfind("\n") + 1].splitlines()]
    assert len({keyid for _, keyid in said}) == 1
    epochs = [int(epoch) for epoch, _ in said]
    assert epochs == sorted(set(epochs))


def test_what_a_manifest_may_say_and_a_report_may_not_is_still_reported(tmp_path: Path):
    live = Live("sha256:" + "a" * 64, "x" * 500 + "\n:1", "tvm\x1b[2J", 1.0)
    state = DeviceState("s", "active", "id\n", live, 0, 0, None, "u" * 900, 6.0)
    report = open_report(Reporter("default", "kitchen", open_device_key(tmp_path)).sign(state, 9.5)).report
    (model,) = report.live.values()
    assert model.digest == live.digest
    assert report.retry_at == 9.5


def test_the_agent_signs_every_state_that_it_says(tmp_path: Path):
    rig = Rig(tmp_path, CryptoSigner.generate_ed25519())
    with rig.running():
        rig.wait_for(lambda state: state.phase == "idle")
    assert len(rig.reports) == len(rig.states)
    (signed, *_), (state, *_) = rig.reports, rig.states
    assert (signed.report.session, signed.report.phase, signed.report.at) == (state.session, state.phase, state.at)
    assert (signed.report.fleet, signed.report.device) == ("default", "dev-1")

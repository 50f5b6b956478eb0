"""Documents of the state folder, of every version there was, and of one that is still to come.

golden/v1 was written by the agent of f4fc3f9, before its documents said their version; golden/v2 by the one after it.
A golden file is never changed; a new version gets a folder of its own.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from securesystemslib.signer import CryptoSigner

from edge_agent.documents import SCHEMA
from edge_agent.install.installer import RECORD_FILE
from edge_agent.install.slots import ASSIGNMENT_FILE, Slots
from edge_agent.install.table import InstallRecord, read_record
from neo.contract.fields import ContractError, dump_object
from neo.contract.messages import Phase
from neo.contract.versions import NewerFormat
from neo.errors import TransferError, TrustError
from neo.store import Store
from neo.trust import load_public_keys
from neo.trust.authority import KeyAuthority
from tests.edge_agent.devices import AgentProcess, answer_of
from tests.edge_agent.rig import Rig
from tests.edge_agent.workers import PASSES

GOLDEN = Path(__file__).parent / "golden"
VERSIONS = sorted(path.name for path in GOLDEN.iterdir())
NOWHERE = "mqtt://127.0.0.1:9"


def rewrite(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    document = change(json.loads(path.read_bytes()))
    path.chmod(0o644)
    path.write_bytes(dump_object(document))


def from_the_future(path: Path) -> None:
    rewrite(path, lambda document: {**document, "schema": SCHEMA + 1, "more": {"than": "today"}})


@pytest.fixture(params=VERSIONS)
def state_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A golden state folder: tiny:2-host is live, tiny:1-host the one before. The operator's key lies beside it."""
    shutil.copy(GOLDEN / request.param / "operator.pub", tmp_path / "operator.pub")
    return Path(shutil.copytree(GOLDEN / request.param / "state", tmp_path / "device", symlinks=True))


def test_there_is_a_golden_folder_for_every_version() -> None:
    assert [f"v{number}" for number in range(1, SCHEMA + 1)] == VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_the_record_of_every_version_is_read_in_every_phase(version: str) -> None:
    found = {path.stem: read_record(path) for path in (GOLDEN / version).glob("install-*.json")}
    assert {name: record.phase for name, record in found.items()} == {
        "install-idle": Phase.IDLE,
        "install-fetching": Phase.FETCHING,
        "install-testing": Phase.TESTING,
        "install-switching": Phase.SWITCHING,
        "install-active": Phase.ACTIVE,
        "install-failed": Phase.FAILED,
        "install-failed-may-pass": Phase.FAILED,
    }
    assert isinstance(found["install-failed"].error, TrustError)
    assert isinstance(found["install-failed-may-pass"].error, TransferError)
    assert found["install-failed-may-pass"].will_retry
    assert found["install-failed-may-pass"].retries == 40
    idle = found.pop("install-idle")
    assert idle.assignment is None
    assert {record.assignment and record.assignment.reference for record in found.values()} == {"tiny:2-host"}


def test_what_is_written_today_is_the_newest_golden_version() -> None:
    for path in (GOLDEN / VERSIONS[-1]).glob("install-*.json"):
        assert read_record(path).to_bytes() == path.read_bytes()


def holds(new: Any, old: Any) -> bool:
    """Is all of old in new, perhaps with more keys beside it?"""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(key in new and holds(new[key], value) for key, value in old.items())
    return bool(new == old)


def test_an_older_agent_finds_all_that_it_reads_in_what_is_written_today() -> None:
    """It passes over keys that it does not know, and knows nothing of those that would be missing."""
    for path in (GOLDEN / "v1").glob("install-*.json"):
        old = json.loads(path.read_bytes())
        new = json.loads(read_record(path).to_bytes())
        assert holds(new, old)
    for old_slot in (GOLDEN / "v1" / "state" / "slots").iterdir():
        new_slot = GOLDEN / VERSIONS[-1] / "state" / "slots" / old_slot.name
        names = {path.relative_to(old_slot) for path in old_slot.rglob("*")}
        assert names == {path.relative_to(new_slot) for path in new_slot.rglob("*")}
        old, new = (json.loads((slot / ASSIGNMENT_FILE).read_bytes()) for slot in (old_slot, new_slot))
        assert {key: type(new[key]) for key in old} == {key: type(old[key]) for key in old}


def test_both_bundles_of_a_golden_folder_are_whole(state_dir: Path) -> None:
    slots = Slots(state_dir, Store(state_dir / "store"))
    authority = KeyAuthority(load_public_keys([state_dir.parent / "operator.pub"]))
    assert slots.current is not None
    assert slots.previous is not None
    assert slots.check(slots.current, authority).manifest.version == "2"
    assert slots.check(slots.previous, authority).manifest.version == "1"


def test_an_agent_of_today_answers_from_a_golden_folder(state_dir: Path, agents: list[AgentProcess]) -> None:
    agents.append(AgentProcess(NOWHERE, state_dir, state_dir.parent / "operator.pub"))
    assert np.allclose(agents[0].wait_for_answer(), answer_of("2"))
    assert agents[0].stop() == 0


def test_a_record_from_the_future_is_said_in_words_and_the_live_model_answers(
    state_dir: Path, agents: list[AgentProcess]
) -> None:
    from_the_future(state_dir / RECORD_FILE)
    agents.append(AgentProcess(NOWHERE, state_dir, state_dir.parent / "operator.pub"))
    assert np.allclose(agents[0].wait_for_answer(), answer_of("2"))
    assert agents[0].stop() == 0
    said = f"install record was written by a newer neo-edge: it has format version {SCHEMA + 1}"
    assert f"{said}, this version reads up to {SCHEMA}" in "".join(agents[0].log)


def test_a_live_slot_from_the_future_gives_way_to_the_one_before(state_dir: Path, agents: list[AgentProcess]) -> None:
    from_the_future(state_dir / "current" / ASSIGNMENT_FILE)
    agents.append(AgentProcess(NOWHERE, state_dir, state_dir.parent / "operator.pub"))
    assert np.allclose(agents[0].wait_for_answer(), answer_of("1"))
    assert agents[0].stop() == 0
    assert f"assignment was written by a newer neo-edge: it has format version {SCHEMA + 1}" in "".join(agents[0].log)


def test_two_slots_from_the_future_stay_for_the_agent_that_can_read_them(
    state_dir: Path, agents: list[AgentProcess]
) -> None:
    """An agent that is put back by mistake must not throw away what the newer one left."""
    saved = {name: (state_dir / name / ASSIGNMENT_FILE).read_bytes() for name in ("current", "previous")}
    for name in saved:
        from_the_future(state_dir / name / ASSIGNMENT_FILE)
    agents.append(AgentProcess(NOWHERE, state_dir, state_dir.parent / "operator.pub"))
    deadline = time.monotonic() + 20
    while "the previous model does not start either" not in "".join(agents[0].log):
        assert time.monotonic() < deadline
        assert agents[0].predict() is None
    assert agents[0].stop() == 0
    for name, data in saved.items():
        (state_dir / name / ASSIGNMENT_FILE).write_bytes(data)
    agents.append(AgentProcess(NOWHERE, state_dir, state_dir.parent / "operator.pub"))
    assert np.allclose(agents[1].wait_for_answer(), answer_of("2"))


@pytest.mark.parametrize("schema", [0, -1, 1.5, "2", None, True, 1 << 70])
def test_a_version_that_is_none_is_a_damaged_record_and_not_a_newer_one(schema: object) -> None:
    data = dump_object({**json.loads(InstallRecord().to_bytes()), "schema": schema})
    with pytest.raises(ContractError) as damaged:
        InstallRecord.from_bytes(data)
    assert not isinstance(damaged.value, NewerFormat)


def test_a_record_from_the_future_is_reported_until_something_is_assigned(tmp_path: Path, signer: CryptoSigner) -> None:
    path = Rig(tmp_path, signer, PASSES).state_dir / RECORD_FILE
    path.write_bytes(InstallRecord().to_bytes())
    from_the_future(path)
    with Rig(tmp_path, signer, PASSES).running() as rig:
        state = rig.wait_for(lambda state: state.phase == "failed")
        assert state.error is not None
        assert f"format version {SCHEMA + 1}" in state.error["message"]
        assert rig.push("1")
    assert read_record(path).phase is Phase.ACTIVE


def test_a_pushed_bundle_from_the_future_is_refused_in_words_and_the_live_one_answers(
    tmp_path: Path, signer: CryptoSigner
) -> None:
    with Rig(tmp_path, signer, PASSES).running() as rig:
        first = rig.push("1")
        assignment = rig.assign_from_the_future("2")
        state = rig.wait_for(lambda state: state.assignment == assignment.id and state.phase == "failed")
        assert state.error is not None
        assert state.error["error"] == NewerFormat.__name__
        assert "format version 99" in state.error["message"]
        assert state.live is not None
        assert state.live.digest == first.manifest.digest

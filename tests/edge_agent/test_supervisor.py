"""A model that fails predictions: tested again, kept or given up. Real worker processes of made-up behaviour."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from securesystemslib.signer import CryptoSigner

from edge_agent.install.trouble import CLEAR_S, TEST_EVERY_S
from edge_agent.serve.infer import ModelNotLive
from edge_agent.worker.client import WorkerUnavailable
from neo.errors import EngineError
from tests.edge_agent.devices import SAMPLE
from tests.edge_agent.rig import Rig

# answers its version; fails for 99; the versions in BREAK do not pass a self-test after that
PROGRAM = """
BREAK = ("2", "4")
from pathlib import Path
import numpy as np
from neo.errors import EngineError
broken = False
def fail(words):
    send_frame(sock, "outputs", {}, {"error": EngineError(words).to_json()})
send_frame(sock, "outputs", {}, {"ready": True})
while True:
    inputs, header = receive_frame(sock, "inputs")
    if header["op"] == "self-test":
        with Path(FOLDER, "tests-" + VERSION).open("a") as file:
            file.write("x")
        if broken:
            fail("it is broken")
        else:
            send_frame(sock, "outputs", {}, {"parity": {}})
    elif inputs["x"][0, 0] == 99:
        broken = VERSION in BREAK
        fail("99 is too much")
    elif inputs["x"][0, 0] == 98:
        os._exit(3)
    else:
        send_frame(sock, "outputs", {"y": np.full((1, 3), float(VERSION), np.float32)}, {})
"""
POISON = np.full((1, 4), 99, np.float32)


@pytest.fixture
def rig(tmp_path: Path, signer: CryptoSigner) -> Iterator[Rig]:
    with Rig(tmp_path, signer, PROGRAM).running() as rig:
        yield rig


def answer(rig: Rig, version: str) -> float:
    return float(rig.inference.infer("tiny", version, {"x": SAMPLE}).outputs["y"][0, 0])


def fail(rig: Rig, version: str, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(EngineError, match="99 is too much") as failure:
            rig.inference.infer("tiny", version, {"x": POISON})
        assert not isinstance(failure.value, WorkerUnavailable)


def count_of_tests(rig: Rig, version: str) -> int:
    return len((rig.folder / f"tests-{version}").read_text())


def wait_until_tested(rig: Rig, version: str, times: int) -> None:
    deadline = time.monotonic() + 10
    while count_of_tests(rig, version) < times:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_model_that_fails_for_some_inputs_and_passes_its_self_test_stays_and_the_reason_is_reported(rig: Rig) -> None:
    rig.push("1")
    rig.push("3")
    answer(rig, "3")
    fail(rig, "3")
    state = rig.wait_for(lambda state: state.error is not None)
    assert state.phase == "active"
    assert state.live is not None
    assert state.error is not None
    assert "fails for some inputs (1 of 2 so far)" in state.error["message"]
    assert "99 is too much" in state.error["message"]
    assert state.error["details"] == {"answered": 1, "failed": 1}
    assert answer(rig, "3") == 3


def test_a_flood_of_failing_requests_costs_one_self_test_and_later_another(rig: Rig) -> None:
    rig.push("1")
    assert count_of_tests(rig, "1") == 1
    fail(rig, "1")
    rig.wait_for(lambda state: state.error is not None)
    for _ in range(5):
        fail(rig, "1", times=20)
        rig.skip(TEST_EVERY_S / 10)
        time.sleep(0.2)
    assert count_of_tests(rig, "1") == 2
    rig.skip(TEST_EVERY_S)
    wait_until_tested(rig, "1", 3)
    state = rig.wait_for(lambda state: state.error is not None and state.error["details"]["failed"] == 101)
    assert state.live is not None


def test_the_reason_is_withdrawn_when_predictions_have_succeeded_for_a_while(rig: Rig) -> None:
    rig.push("1")
    fail(rig, "1")
    rig.wait_for(lambda state: state.error is not None)
    rig.skip(CLEAR_S + 1)
    time.sleep(1)
    assert rig.states[-1].error is not None  # nobody has asked since
    answer(rig, "1")
    rig.wait_for(lambda state: state.error is None)


def test_a_model_that_fails_its_self_test_too_is_given_up_for_the_previous_one(rig: Rig) -> None:
    first = rig.push("1")
    rig.push("2")
    fail(rig, "2")
    state = rig.wait_for(lambda state: state.phase == "failed" and state.live is not None)
    assert state.error is not None
    assert state.live is not None
    assert state.live.digest == first.manifest.digest
    assert "failed predictions, and then its self-test: it is broken" in state.error["message"]
    assert answer(rig, "1") == 1
    rig.push("3")
    assert answer(rig, "3") == 3


def test_with_nothing_to_fall_back_to_it_is_started_again_in_a_new_worker(rig: Rig) -> None:
    rig.push("4")
    pid = rig.serving.model.worker.pid if rig.serving.model else 0
    fail(rig, "4")
    rig.wait_for(lambda state: state.live is None)
    rig.wait_for(lambda state: state.live is not None)
    assert rig.serving.model is not None
    assert rig.serving.model.worker.pid != pid
    assert answer(rig, "4") == 4


def test_a_worker_that_dies_of_an_input_is_unavailable_and_counts_as_no_failure_of_the_model(rig: Rig) -> None:
    rig.push("1")
    model = rig.serving.model
    assert model is not None
    with pytest.raises(WorkerUnavailable, match="exit code 3"):
        rig.inference.infer("tiny", "1", {"x": np.full((1, 4), 98, np.float32)})
    assert model.tally.counts == (0, 0)
    deadline = time.monotonic() + 10
    while True:
        try:
            assert answer(rig, "1") == 1
            break
        except (ModelNotLive, WorkerUnavailable):
            assert time.monotonic() < deadline
            time.sleep(0.02)

"""Worker processes: the real one, and ones that misbehave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_agent.worker.client import Worker, WorkerLimits, WorkerUnavailable
from neo.errors import BundleError, EngineError, InputSpecError
from neo.runtime.golden import write_golden
from tests.edge_agent.devices import SAMPLE, answer_of, make_manifest, write_engine
from tests.edge_agent.workers import READY, command_of

LIMITS = WorkerLimits(load_s=20, self_test_s=10, predict_s=10, stop_s=1)
Start = Callable[..., Worker]


@pytest.fixture
def exits() -> list[Worker]:
    return []


@pytest.fixture
def start(tmp_path: Path, exits: list[Worker]) -> Iterator[Start]:
    """Start a worker for the folder; program: Python source that stands in for the real worker."""
    started: list[Worker] = []

    def begin(folder: Path, limits: WorkerLimits = LIMITS, program: str = "") -> Worker:
        command = (sys.executable, "-m", "edge_agent.worker.process")
        if program:
            command = command_of(program, tmp_path)
        started.append(Worker(folder, 1, limits, exits.append, command))
        return started[-1]

    yield begin
    for worker in started:
        worker.stop()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    write_engine(folder / "engine", "1")
    (folder / "manifest.json").write_bytes(make_manifest("1").to_bytes())
    write_golden(folder, [({"x": SAMPLE}, {"y": answer_of("1")})])
    return folder


def test_a_worker_answers_like_the_model_and_passes_its_self_test(start: Start, bundle: Path) -> None:
    worker = start(bundle)
    assert worker.self_test()["max_rel"] <= 1e-4
    assert np.allclose(worker.predict({"x": SAMPLE})["y"], answer_of("1"))


def test_threads_that_ask_together_each_get_their_own_answer(start: Start, bundle: Path) -> None:
    worker = start(bundle)
    wrong: list[int] = []

    def ask(number: int) -> None:
        x = np.full((1, 4), number, np.float32)
        answers = [worker.predict({"x": x})["y"] for _ in range(20)]
        wrong.extend(number for answer in answers if not np.allclose(answer, answer_of("1", x), rtol=1e-4))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_wrong_golden_answers_are_a_bundle_error(start: Start, bundle: Path) -> None:
    write_golden(bundle, [({"x": SAMPLE}, {"y": answer_of("2")})])
    with pytest.raises(BundleError, match="does not answer here as"):
        start(bundle).self_test()


def test_wrong_inputs_keep_their_class_and_hint(start: Start, bundle: Path) -> None:
    worker = start(bundle)
    with pytest.raises(InputSpecError, match="takes the inputs 'x'"):
        worker.predict({"z": SAMPLE})
    assert worker.predict({"x": SAMPLE})["y"].shape == (1, 3)


def test_a_model_that_does_not_load_is_an_error_and_leaves_no_process(
    start: Start, bundle: Path, exits: list[Worker]
) -> None:
    (bundle / "engine/model.onnx").write_bytes(b"no model")
    with pytest.raises(EngineError, match="cannot load"):
        start(bundle)
    wait_until(lambda: len(exits) == 1)


def test_a_crash_in_the_middle_of_a_request_is_an_engine_error(start: Start, bundle: Path, exits: list[Worker]) -> None:
    worker = start(bundle, program=READY + 'receive_frame(sock, "inputs"); os.abort()')
    with pytest.raises(EngineError, match="killed by signal SIGABRT during a prediction"):
        worker.predict({"x": SAMPLE})
    with pytest.raises(EngineError):
        worker.predict({"x": SAMPLE})
    wait_until(lambda: exits == [worker])


def test_a_hanging_worker_is_killed_when_its_time_is_up(start: Start, bundle: Path) -> None:
    worker = start(bundle, WorkerLimits(load_s=20, predict_s=0.5), READY + "time.sleep(600)")
    begun = time.monotonic()
    with pytest.raises(EngineError, match="took too long"):
        worker.predict({"x": SAMPLE})
    assert time.monotonic() - begun < 5
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)


def test_a_worker_that_never_loads_is_killed(start: Start, bundle: Path, exits: list[Worker]) -> None:
    with pytest.raises(EngineError, match="loading the model took too long"):
        start(bundle, WorkerLimits(load_s=0.5), "time.sleep(600)")
    wait_until(lambda: len(exits) == 1)


def test_what_model_code_prints_does_not_reach_the_frames(start: Start, bundle: Path) -> None:
    program = """
        send_frame(sock, "outputs", {}, {"ready": True})
        receive_frame(sock, "inputs")
        os.write(1, b"garbage" * 1000)
        print("more garbage", flush=True)
        send_frame(sock, "outputs", {}, {"parity": {"max_abs": 0.25}})
    """
    assert start(bundle, program=program).self_test() == {"max_abs": 0.25}


@pytest.mark.parametrize(
    "garbage", ['b"\\xff" * 100', 'b"\\0\\0\\0\\2\\0\\0\\0\\2xx"', 'b"\\0\\0\\0\\2\\0\\0\\0\\2[]"']
)
def test_garbage_in_place_of_a_frame_is_an_engine_error(start: Start, bundle: Path, garbage: str) -> None:
    worker = start(bundle, program=READY + f'receive_frame(sock, "inputs"); sock.sendall({garbage}); time.sleep(600)')
    with pytest.raises(EngineError, match="sent garbage"):
        worker.predict({"x": SAMPLE})


def test_a_worker_whose_reading_thread_dies_ends_instead_of_looking_alive(
    start: Start, bundle: Path, exits: list[Worker]
) -> None:
    program = """
        import edge_agent.worker.process as process
        def no_memory(*_):
            raise MemoryError
        process.receive_frame = no_memory
        process.load = lambda *_: time.sleep(600)
        sys.argv[1:] = [str(os.dup(sock.fileno())), *sys.argv[2:]]
        sock.detach()
        process.main()
    """
    with pytest.raises(WorkerUnavailable, match="exit code 1 during loading"):
        start(bundle, program=program)
    wait_until(lambda: len(exits) == 1)


def test_a_worker_does_not_outlive_its_agent(start: Start, bundle: Path) -> None:
    program = f"""
import sys, os
from pathlib import Path
from edge_agent.worker.client import Worker, WorkerLimits, WorkerUnavailable
worker = Worker(Path({str(bundle)!r}), 1, WorkerLimits(), lambda _: None)
print(worker.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=False, timeout=30)
    assert done.returncode == -signal.SIGKILL
    pid = int(done.stdout)
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2])


def wait_until(condition: Callable[[], bool], timeout_s: float = 5) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)

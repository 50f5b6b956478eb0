"""Call a function in a confined process of its own: it may crash, hang or eat memory; the caller gets a NeoError.

The function is named "module:function", takes the scratch folder and answers with a JSON object. What it needs to
know, it finds in the scratch folder; large results it leaves there.
"""

from __future__ import annotations

import functools
import os
import signal
import site
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from neo.contract.fields import ContractError, as_object, parse_object
from neo.errors import DiskFull, EngineError, NeoError, ResourceLimitExceeded
from neo.isolation.confine import Confinement, Limits
from neo.isolation.exhaustion import disk_full, exhaustion, is_disk_full, memory_exceeded
from neo.isolation.scratch import scratch_folder

MAX_ANSWER_BYTES = 1 << 20
MAX_LOG_BYTES = 64 << 10
_LOG_LINES = 20
# what the work needs to find its interpreter, its libraries and its language: no keys, tokens or proxies
_PASSED_ON = (
    "PATH",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "VIRTUAL_ENV",
    "NEO_MXNET_PYTHON",
    "NEO_CHAINER_PYTHON",
    "OMP_NUM_THREADS",
    "SYSTEMROOT",
)


@dataclass(frozen=True, slots=True)
class Work:
    """A function to be called in a confined process."""

    #: "module:function"
    entry: str
    #: for messages, as in "converting net.onnx"
    doing: str
    #: the error to raise if the process crashes
    crash: type[NeoError]


@dataclass(frozen=True, slots=True)
class _Finished:
    """How the process ended."""

    #: None: its time was over
    returncode: int | None
    #: None: it gave none
    answer: dict[str, Any] | None
    log: str


def isolated(
    work: Work, scratch: Path, limits: Limits | None = None, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """-> what the function answered. limits: ``Limits.of_this_machine()`` if None. environment: added to the little
    that is passed on.

    Raises the NeoError that the function raised; ResourceLimitExceeded or DiskFull if it did not fit; work.crash if
    it took its process with it. details["traceback"] and details["log"] say where.
    """
    limits = limits or Limits.of_this_machine()
    finished = _run(work, scratch.resolve(), limits, environment or {})
    if finished.answer is None:
        error = _cause_of_death(finished, work, scratch, limits)
        error.details["log"] = _last_lines(finished.log)
        raise error
    if is_disk_full(scratch):
        # whatever it reports: a file that was cut short looks damaged to whoever reads it next
        raise disk_full(scratch)
    if "error" in finished.answer:
        reported = NeoError.from_json(as_object(finished.answer["error"], "error"))
        if isinstance(reported, DiskFull):
            raise disk_full(scratch) from reported
        reported.details.setdefault("log", _last_lines(finished.log))
        raise reported
    return as_object(finished.answer.get("answer"), "answer")


@functools.cache
def confinement_here() -> Confinement:
    """Which of the limits hold for confined calls on this machine, as a confined process found them.

    Raises NeoError if none can be started.
    """
    work = Work("neo.isolation.worker:nothing", "starting a confined process", EngineError)
    limits = Limits.of_this_machine()
    with scratch_folder("neo-confined-") as scratch:
        finished = _run(work, scratch, limits, {})
        if finished.answer is None:
            raise _cause_of_death(finished, work, scratch, limits)
    return Confinement(**as_object(finished.answer.get("confinement"), "confinement"))


def _run(work: Work, scratch: Path, limits: Limits, environment: Mapping[str, str]) -> _Finished:
    worker = subprocess.Popen(
        [sys.executable, "-m", "neo.isolation.worker", work.entry, str(scratch), limits.to_text()],
        cwd=scratch,
        env={**_environment(scratch), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # a group of its own: children of the worker end with it
        start_new_session=True,
    )
    output, log = _Tail(worker.stdout, MAX_ANSWER_BYTES + 1), _Tail(worker.stderr, MAX_LOG_BYTES)
    try:
        returncode: int | None = worker.wait(limits.seconds)
    except subprocess.TimeoutExpired:
        returncode = None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
    answer = None
    with suppress(ContractError):
        data = output.collect()
        answer = parse_object(data, what="answer", max_bytes=MAX_ANSWER_BYTES) if returncode == 0 else None
    return _Finished(returncode, answer, log.collect().decode(errors="replace"))


class _Tail:
    """Reads a pipe to its end in a thread and keeps the last bytes: a worker that prints gigabytes costs nothing."""

    def __init__(self, stream: IO[bytes] | None, max_bytes: int) -> None:
        assert stream is not None  # noqa: S101  # Popen was given PIPE
        self._stream = stream
        self._max_bytes = max_bytes
        self._kept = bytearray()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while chunk := os.read(self._stream.fileno(), 1 << 16):
            self._kept += chunk
            del self._kept[: -self._max_bytes]

    def collect(self) -> bytes:
        # a grandchild that left the group may hold the pipe open: its words are not waited for
        self._thread.join(timeout=5)
        if not self._thread.is_alive():
            self._stream.close()
        return bytes(self._kept)


def _environment(scratch: Path) -> dict[str, str]:
    temporary = scratch / "tmp"
    temporary.mkdir(exist_ok=True)
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    # absolute: the worker's current folder is another one
    imports = [str(Path(entry).absolute()) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    package_root = str(Path(__file__).resolve().parents[2])
    return environment | {
        "HOME": str(scratch),
        "TMPDIR": str(temporary),
        "PYTHONPATH": os.pathsep.join([package_root, *imports]),
        "PYTHONUSERBASE": site.getuserbase(),
        # the scratch folder is the current one: nothing is imported from there (Python 3.11 and later)
        "PYTHONSAFEPATH": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "KERAS_BACKEND": "tensorflow",
        # a conversion is a few runs: the same numbers everywhere count for more than speed
        "CUDA_VISIBLE_DEVICES": "-1",
    }


def _last_lines(log: str) -> str:
    return "\n".join(log.splitlines()[-_LOG_LINES:])


def _cause_of_death(finished: _Finished, work: Work, scratch: Path, limits: Limits) -> NeoError:
    if finished.returncode is None or finished.returncode == -signal.SIGXCPU:
        return ResourceLimitExceeded(
            f"{work.doing} was not finished after {limits.seconds:g} s and was stopped",
            hint="fix smaller sizes with --input or --dim, or use a faster machine",
        )
    if finished.returncode == -signal.SIGXFSZ:
        return ResourceLimitExceeded(f"{work.doing} wants to write a file of more than {limits.file_bytes} bytes")
    if is_disk_full(scratch):
        return disk_full(scratch)
    if finished.returncode == -signal.SIGKILL:
        return memory_exceeded()
    return exhaustion(finished.log) or _crash(finished, work)


def _crash(finished: _Finished, work: Work) -> NeoError:
    return work.crash(
        f"{work.doing} crashed ({_ending(finished.returncode or 0)})",
        hint="the model may be damaged; --debug shows the last lines of the log",
    )


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal has no name
        return f"signal {-code}"

"""Conversion in a process of its own, with limits on memory, time and file size, and without network.

Parsers of model formats are large and were written for files of friends: here one may crash, hang or eat memory, and
the caller gets a NeoError.
"""

from __future__ import annotations

import os
import shutil
import signal
import site
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from neo.contract.fields import ContractError, as_object, parse_object
from neo.errors import ModelError, NeoError, ResourceLimitExceeded, UsageError
from neo.frontends.base import Conversion, ConversionRequest
from neo.frontends.confine import Limits
from neo.frontends.exchange import MAX_ANSWER_BYTES, unpack_answer, write_request
from neo.frontends.failures import disk_full, exhaustion, memory_exceeded

MAX_LOG_BYTES = 64 << 10
_LOG_LINES = 20
_ALMOST_NOTHING = 64 << 10
# what a conversion needs to find its interpreter, its libraries and its language: no keys, tokens or proxies
_PASSED_ON = (
    "PATH",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "VIRTUAL_ENV",
    "NEO_MXNET_PYTHON",
    "OMP_NUM_THREADS",
    "SYSTEMROOT",
)


def convert(request: ConversionRequest, limits: Limits | None = None) -> Conversion:
    """Converts request.source to ONNX below request.scratch, an empty folder, and measures parity.

    limits: ``Limits.of_this_machine()`` if None. Raises ModelError and its children for what is wrong with the model,
    ResourceLimitExceeded or DiskFull if it does not fit, MissingDependency if a framework is not installed.
    details["traceback"] and details["log"] say where. The caller removes the scratch folder.
    """
    limits = limits or Limits.of_this_machine()
    try:
        write_request(request)
    except OSError as error:
        raise exhaustion(str(error), error.errno) or UsageError(
            f"cannot write into the scratch folder {request.scratch}: {error.strerror}"
        ) from error
    finished = _run(request.scratch.resolve(), limits)
    answer = finished.answer()
    if answer is None:
        raise _death(finished, request, limits)
    if "error" in answer:
        reported = NeoError.from_json(as_object(answer["error"], "error"))
        reported.details.setdefault("log", finished.last_lines())
        raise reported
    return unpack_answer(as_object(answer.get("conversion"), "conversion"), request.scratch)


@dataclass(frozen=True, slots=True)
class _Finished:
    """How the worker ended. returncode: None if its time was over. output: what it wrote as its answer."""

    returncode: int | None
    output: bytes
    log: str

    def answer(self) -> dict[str, Any] | None:
        """None if the worker died before it gave one."""
        if self.returncode != 0:
            return None
        try:
            return parse_object(self.output, what="answer", max_bytes=MAX_ANSWER_BYTES)
        except ContractError:
            return None

    def last_lines(self) -> str:
        return "\n".join(self.log.splitlines()[-_LOG_LINES:])


def _run(scratch: Path, limits: Limits) -> _Finished:
    worker = subprocess.Popen(
        [sys.executable, "-m", "neo.frontends.worker", str(scratch), limits.to_text()],
        cwd=scratch,
        env=_environment(scratch),
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
    return _Finished(returncode, output.collect(), log.collect().decode(errors="replace"))


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
    temporary.mkdir()
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    package_root = str(Path(__file__).resolve().parents[2])
    return environment | {
        "HOME": str(scratch),
        "TMPDIR": str(temporary),
        "PYTHONPATH": os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")])),
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


def _death(finished: _Finished, request: ConversionRequest, limits: Limits) -> NeoError:
    error = _cause(finished, request, limits)
    error.details["log"] = finished.last_lines()
    return error


def _cause(finished: _Finished, request: ConversionRequest, limits: Limits) -> NeoError:
    if finished.returncode is None or finished.returncode == -signal.SIGXCPU:
        return ResourceLimitExceeded(
            f"converting {request.source.name} was not finished after {limits.seconds:g} s and was stopped",
            hint="fix smaller sizes with --input or --dim, or use a faster machine",
        )
    if finished.returncode == -signal.SIGXFSZ:
        return ResourceLimitExceeded(f"the conversion wants to write a file of more than {limits.file_bytes} bytes")
    if shutil.disk_usage(request.scratch).free < _ALMOST_NOTHING:
        return disk_full()
    if finished.returncode == -signal.SIGKILL:
        return memory_exceeded()
    return exhaustion(finished.log) or _crash(finished, request)


def _crash(finished: _Finished, request: ConversionRequest) -> ModelError:
    code = finished.returncode or 0
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return ModelError(
        f"the converter crashed ({how}) while reading {request.source.name}",
        hint="the file may be damaged; --debug shows the last lines of the converter's log",
    )

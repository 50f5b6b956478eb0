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
from pathlib import Path
from typing import IO, NoReturn

from neo.contract.fields import ContractError, as_object, parse_object
from neo.errors import DiskFull, ModelError, NeoError, ResourceLimitExceeded
from neo.frontends.base import Conversion, ConversionRequest
from neo.frontends.confine import Limits
from neo.frontends.exchange import MAX_ANSWER_BYTES, unpack_answer, write_request
from neo.frontends.failures import exhaustion, memory_exceeded

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
        raise exhaustion(str(error), error.errno) or ModelError(
            f"cannot write into the scratch folder {request.scratch}: {error.strerror}"
        ) from error
    finished = _run(request.scratch.resolve(), limits)
    if finished.answer is None:
        _explain_death(finished, request, limits)
    if "error" in finished.answer:
        raise NeoError.from_json(as_object(finished.answer["error"], "error"))
    return unpack_answer(as_object(finished.answer.get("conversion"), "conversion"), request.scratch)


class _Finished:
    """How the worker ended. answer: None if it wrote none. returncode: None if its time was over."""

    __slots__ = ("answer", "log", "returncode")

    def __init__(self, returncode: int | None, output: bytes, log: bytes) -> None:
        self.returncode = returncode
        self.log = log.decode(errors="replace")
        try:
            self.answer = parse_object(output, what="answer", max_bytes=MAX_ANSWER_BYTES) if returncode == 0 else None
        except ContractError:
            self.answer = None


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
    return _Finished(returncode, output.collect(), log.collect())


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


def _explain_death(finished: _Finished, request: ConversionRequest, limits: Limits) -> NoReturn:
    details = {"log": "\n".join(finished.log.splitlines()[-_LOG_LINES:])}
    if finished.returncode is None or finished.returncode == -signal.SIGXCPU:
        error: NeoError = ResourceLimitExceeded(
            f"converting {request.source.name} was not finished after {limits.seconds:g} s and was stopped",
            hint="give it more time with --timeout, or a faster machine",
        )
    elif finished.returncode == -signal.SIGXFSZ:
        error = ResourceLimitExceeded(f"the conversion wants to write a file of more than {limits.file_bytes} bytes")
    elif shutil.disk_usage(request.scratch).free < _ALMOST_NOTHING:
        error = DiskFull("the disk is full: the converted model does not fit", hint="make room, or set TMPDIR elsewhere")
    elif finished.returncode == -signal.SIGKILL:
        error = memory_exceeded()
    else:
        error = exhaustion(finished.log) or _crash(finished, request)
    error.details.update(details)
    raise error


def _crash(finished: _Finished, request: ConversionRequest) -> ModelError:
    code = finished.returncode or 0
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return ModelError(
        f"the converter crashed ({how}) while reading {request.source.name}",
        hint="the file may be damaged; --debug shows the last lines of the converter's log",
    )

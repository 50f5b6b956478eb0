"""The agent's end of a worker process: start it, ask it, and never wait for it for ever."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edge_agent.worker.frames import Arrays, Closed, receive_frame, send_frame
from neo.contract.fields import ContractError, as_object
from neo.errors import EngineError, NeoError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """Seconds. load_s and self_test_s are for the slowest devices; predict_s is per request, waiting included."""

    load_s: float = 120.0
    self_test_s: float = 300.0
    predict_s: float = 60.0
    stop_s: float = 2.0


class WorkerUnavailable(EngineError):
    """The worker ended, hangs, or is overrun: it says nothing about the model, and a later request may be answered."""


class Worker:
    """A process that holds one loaded bundle. Threads may call ``predict`` together; they are answered in turn.

    on_exit is called once, from a thread of its own, when the process has ended for whatever reason.
    """

    def __init__(
        self,
        folder: Path,
        threads: int | None,
        limits: WorkerLimits,
        on_exit: Callable[[Worker], None],
        command: tuple[str, ...] = (sys.executable, "-m", "edge_agent.worker.process"),
    ) -> None:
        """Returns when the model is loaded. Raises EngineError, BundleError, TargetError."""
        self._limits = limits
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair()
        with theirs:
            arguments = [*command, str(theirs.fileno()), str(folder), str(threads or 0)]
            try:
                self._process = subprocess.Popen(
                    arguments, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=2, start_new_session=True
                )
            except OSError as error:
                self._socket.close()
                raise EngineError(f"the worker process does not start: {error}") from error
        name = f"worker-{self._process.pid}"
        threading.Thread(target=self._watch, args=(on_exit,), name=name, daemon=True).start()
        try:
            self._reply(time.monotonic() + limits.load_s, "loading the model")
        except NeoError:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def self_test(self) -> dict[str, Any]:
        """-> the parity with the golden samples, as JSON. Raises BundleError if the answers are off, EngineError if the
        model fails; WorkerUnavailable as ``predict``.
        """
        _, header = self._request({}, {"op": "self-test"}, self._limits.self_test_s, "the self-test")
        return as_object(header.get("parity"), "the worker's parity")

    def predict(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Raises InputSpecError for the wrong inputs; WorkerUnavailable if the process ends or takes too long, or has
        others to answer for too long; the NeoError that the worker answers with if the model fails.
        """
        outputs, _ = self._request(inputs, {"op": "predict"}, self._limits.predict_s, "a prediction")
        return outputs

    def stop(self) -> None:
        """End the process: it leaves when its socket closes, or is killed."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(self._limits.stop_s)
        except subprocess.TimeoutExpired:
            self.kill()
        with self._lock:  # a request that was cut off has noticed by now
            self._socket.close()

    def kill(self) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _request(
        self, tensors: Mapping[str, NDArray[Any]], extra: dict[str, Any], timeout_s: float, what: str
    ) -> tuple[Arrays, dict[str, Any]]:
        deadline = time.monotonic() + timeout_s
        if not self._lock.acquire(timeout=timeout_s):
            raise WorkerUnavailable(f"{what} waited {timeout_s:.0f} s for others", hint="send fewer requests at a time")
        try:
            try:
                self._socket.settimeout(max(deadline - time.monotonic(), 1e-3))
                send_frame(self._socket, "inputs", tensors, extra)
            except OSError as error:
                raise self._gone(what) from error
            return self._reply(deadline, what)
        finally:
            self._lock.release()

    def _reply(self, deadline: float, what: str) -> tuple[Arrays, dict[str, Any]]:
        try:
            outputs, header = receive_frame(self._socket, "outputs", deadline)
        except TimeoutError as error:
            # what it would say later would be taken for the answer to another request
            self.kill()
            raise WorkerUnavailable(f"{what} took too long; the worker was stopped") from error
        except (Closed, OSError) as error:
            raise self._gone(what) from error
        except ContractError as error:
            self.kill()
            raise WorkerUnavailable(f"the worker sent garbage during {what}: {error.message}") from error
        if isinstance(header.get("error"), dict):
            raise NeoError.from_json(header["error"])
        return outputs, header

    def _gone(self, what: str) -> WorkerUnavailable:
        try:
            code = self._process.wait(self._limits.stop_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return WorkerUnavailable(f"the worker closed its connection during {what} and was stopped")
        how = f"was killed by signal {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return WorkerUnavailable(
            f"the worker process {how} during {what}",
            hint="the model may need more memory than there is, or its code may not fit this processor",
        )

    def _watch(self, on_exit: Callable[[Worker], None]) -> None:
        code = self._process.wait()
        logger.debug("worker %d ended with code %d", self._process.pid, code)
        on_exit(self)

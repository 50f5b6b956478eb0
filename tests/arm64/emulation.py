"""aarch64 processes on this machine: QEMU runs the programs of a small Debian that ``scripts/arm64-device`` makes."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edge_agent.worker.frames import Arrays, Closed, receive_frame, send_frame
from neo.contract.tensors import TensorSpec
from neo.errors import NeoError
from neo.targets import list_targets

ROOT = Path(__file__).parents[2]
PYTHON_VARIABLE = "NEO_ARM64_PYTHON"
ANSWER_S = 120.0

# target -> what QEMU calls a processor with the target's features and as few others as it has
PROCESSORS = {
    "aarch64": "cortex-a53",
    "graviton3": "max,sve-default-vector-length=32",
    "jetson-orin": "cortex-a76",
    "raspberry-pi-3": "cortex-a53",
    "raspberry-pi-4": "cortex-a72",
    "raspberry-pi-5": "cortex-a76",
}
ARM_TARGETS = tuple(target.name for target in list_targets() if target.cpu.arch == "aarch64")


def environment(processor: str) -> dict[str, str]:
    """Of an emulated process. processor: as QEMU calls it."""
    return {**os.environ, "QEMU_CPU": processor, "PYTHONPATH": str(ROOT)}


class Device:
    """One emulated process that opens engine folders: ``on_device.py``. Starting it takes seconds, so it serves many
    tests; it is started when it is asked, also after a crash.
    """

    def __init__(self, python: str, target: str) -> None:
        """python: an interpreter that is emulated."""
        self.target = target
        self._python = python
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def open_engine(self, folder: Path, threads: int) -> EmulatedEngine:
        """Raises what ``load_engine`` raises there."""
        _, answer = self.ask("open", folder=str(folder), threads=threads)
        specs = (tuple(TensorSpec.from_json(spec) for spec in answer[key]) for key in ("takes", "gives"))
        return EmulatedEngine(self, answer["engine"], *specs)

    def mapped_files(self) -> set[str]:
        _, answer = self.ask("mapped")
        return set(answer["files"])

    def ask(self, op: str, arrays: Mapping[str, NDArray[Any]] | None = None, **fields: Any) -> tuple[Arrays, Any]:
        sock = self._started()
        try:
            send_frame(sock, "inputs", arrays or {}, {"op": op, **fields})
            found, answer = receive_frame(sock, "outputs", time.monotonic() + ANSWER_S)
        except (Closed, OSError) as error:
            raise AssertionError(f"the emulated process ended with code {self.stop()}") from error
        if "error" in answer:
            raise NeoError.from_json(answer["error"])
        return found, answer

    def stop(self) -> int:
        """-> the exit code; a signal's number below zero."""
        if self._process is None or self._socket is None:
            return 0
        self._socket.close()
        code = self._process.wait(ANSWER_S)
        self._process = self._socket = None
        return code

    def _started(self) -> socket.socket:
        if self._socket is None:
            self._socket, theirs = socket.socketpair()
            command = [self._python, str(Path(__file__).with_name("on_device.py")), str(theirs.fileno())]
            with theirs:
                variables = environment(PROCESSORS[self.target])
                self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=variables)
        return self._socket


@dataclass(frozen=True, slots=True)
class EmulatedEngine:
    """An engine of ``neo.runtime`` in the emulated process."""

    device: Device
    number: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def run(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        named = {spec.name: array for spec, array in zip(self.inputs, arrays, strict=True)}
        found, _ = self.device.ask("run", named, engine=self.number)
        return [found[spec.name] for spec in self.outputs]

    def close(self) -> None:
        """The device forgets it when it stops."""

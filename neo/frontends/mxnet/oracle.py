"""The model in MXNet itself, run by an interpreter of its own: MXNet cannot live beside a current numpy.

``NEO_MXNET_PYTHON`` names an interpreter that can import mxnet; ``scripts/mxnet-oracle`` makes one.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neo.contract.tensors import TensorSpec
from neo.errors import MissingDependency, ModelError
from neo.frontends.base import Arrays
from neo.frontends.mxnet.files import ModelFiles

PYTHON_VARIABLE = "NEO_MXNET_PYTHON"
_WORKER = Path(__file__).with_name("oracle_worker.py")
_END_TIMEOUT_S = 5.0


def start_oracle(files: ModelFiles, outputs: Sequence[TensorSpec], scratch: Path) -> Oracle | None:
    """None if no interpreter with MXNet is named."""
    python = os.environ.get(PYTHON_VARIABLE)
    return Oracle(python, files, outputs, scratch) if python else None


class Oracle:
    """A process that holds the model and answers inputs one by one; it ends with this object.

    version: of MXNet. Raises MissingDependency if the interpreter cannot import mxnet, ModelError if MXNet itself
    refuses the model.
    """

    def __init__(self, python: str, files: ModelFiles, outputs: Sequence[TensorSpec], scratch: Path) -> None:
        self._outputs = outputs
        self._scratch = scratch
        self._log = scratch / "mxnet.log"
        # isolated: neither our PYTHONPATH nor the folder of the worker is for that interpreter
        command = [python, "-I", str(_WORKER), str(files.symbol.absolute()), str(files.parameters.absolute())]
        try:
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
                )
        except OSError as error:
            raise MissingDependency(
                f"{PYTHON_VARIABLE}={python} cannot be started: {error.strerror}",
                hint="scripts/mxnet-oracle makes an interpreter with MXNet",
            ) from error
        self.close = weakref.finalize(self, _end, self._process)
        try:
            self.version = str(self._read_reply()["version"])
        except BaseException:  # also Ctrl-C must not leave the process behind
            self.close()
            raise

    def run(self, inputs: Arrays) -> Arrays:
        """Arrays by input name to arrays by output name."""
        asked, answered = self._scratch / "mxnet-inputs.npz", self._scratch / "mxnet-outputs.npz"
        # by number: a name may be anything, also that of a parameter of savez
        np.savez(asked, **{f"input{number}": array for number, array in enumerate(inputs.values())})  # type: ignore[arg-type]
        request = {"names": list(inputs), "inputs": str(asked.absolute()), "outputs": str(answered.absolute())}
        self._write(json.dumps(request))
        self._read_reply()
        with np.load(answered, allow_pickle=False) as arrays:
            return {spec.name: arrays[f"output{number}"] for number, spec in enumerate(self._outputs)}

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None  # noqa: S101  # Popen was given PIPE
        # a process that has ended reads nothing; that its reply is missing tells the user more
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def _read_reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101  # Popen was given PIPE
        line = self._process.stdout.readline()
        if not line:
            last_words = self._log.read_text(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
            raise MissingDependency(
                f"MXNet in {PYTHON_VARIABLE} ended: {last_words[0]}",
                hint="scripts/mxnet-oracle makes an interpreter with MXNet",
            )
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise ModelError(f"MXNet itself cannot run the model: {reply['error']}")
        return reply


def _end(process: subprocess.Popen[str]) -> None:
    """Ends the process by closing its input."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()
    try:
        process.wait(_END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

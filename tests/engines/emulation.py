"""A machine with AMX: this one if it has it, otherwise this one with ``amx_emulator.c`` in front of a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neo.contract.precision import BF16
from neo.runtime.host import read_host

SOURCE = Path(__file__).with_name("amx_emulator.c")
TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Answers:
    """products: how many products of tiles were emulated; None where the processor computes them itself."""

    outputs: list[np.ndarray]
    products: int | None


@dataclass(frozen=True, slots=True)
class Machine:
    """preload: the emulator; None where none is needed."""

    preload: Path | None

    def run(self, folder: Path, arrays: Sequence[np.ndarray], *, threads: int = 2) -> Answers:
        """folder: an unpacked bundle, or one of an engine alone. arrays: in the order of its inputs."""
        given, made = folder.with_name(f"{folder.name}-inputs.npz"), folder.with_name(f"{folder.name}-outputs.npz")
        np.savez(given, *arrays)
        command = [sys.executable, "-m", "tests.engines.emulated", str(folder), str(given), str(made), str(threads)]
        preload = {} if self.preload is None else {"LD_PRELOAD": str(self.preload)}
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S, env={**os.environ, **preload}
        )
        assert done.returncode == 0, f"{done.returncode}: {done.stderr[-2000:]}"
        with np.load(made) as outputs:
            return Answers([outputs[name] for name in outputs.files], int(done.stdout) if preload else None)


def machine_with_amx(folder: Path) -> Machine:
    """folder: for the emulator's library, if this machine needs it."""
    if BF16.features["x86_64"][-1] in read_host().features:
        return Machine(None)
    library = folder / "amx_emulator.so"
    options = ["-O2", "-mfma", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    command = [sys.executable, "-m", "ziglang", "cc", *options, "-o", str(library), str(SOURCE)]
    subprocess.run(command, check=True, timeout=TIMEOUT_S)
    return Machine(library)

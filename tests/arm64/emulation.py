"""aarch64 processes on this machine: QEMU runs the programs of a small Debian that ``scripts/arm64-device`` makes."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
PYTHON_VARIABLE = "NEO_ARM64_PYTHON"
TIMEOUT_S = 240


@dataclass(frozen=True, slots=True)
class Device:
    """python: an interpreter that is emulated. processor: as QEMU calls it, as in "cortex-a72" or "max"."""

    python: str
    processor: str

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "QEMU_CPU": self.processor, "PYTHONPATH": str(ROOT)}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.python, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )


@dataclass(frozen=True, slots=True)
class Case:
    """An engine folder and one input for each of its names."""

    engine: Path
    arrays: dict[str, np.ndarray]
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Answer:
    """mapped: the weight files that the process had mapped when it answered."""

    arrays: dict[str, np.ndarray]
    mapped: tuple[str, ...]


def answers(device: Device, cases: list[Case], scratch: Path) -> list[Answer]:
    """Of all cases, in one process."""
    request = []
    for number, case in enumerate(cases):
        names = ("inputs.npz", "outputs.npz", "mapped.json")
        inputs, outputs, mapped = (str(scratch / f"{number}-{name}") for name in names)
        np.savez(inputs, **case.arrays)  # type: ignore[arg-type]  # the stub takes one array only
        files = {"inputs": inputs, "outputs": outputs, "mapped": mapped}
        request.append({"engine": str(case.engine), "threads": case.threads, **files})
    path = scratch / "request.json"
    path.write_text(json.dumps(request), encoding="utf-8")
    done = device.run(str(Path(__file__).with_name("on_device.py")), str(path))
    assert done.returncode == 0, done.stderr
    found = []
    for entry in request:
        with np.load(entry["outputs"]) as archive:
            arrays = {name: archive[name] for name in archive.files}
        found.append(Answer(arrays, tuple(json.loads(Path(entry["mapped"]).read_bytes()))))
    return found

"""Gluon's model zoo, exported by real MXNet in the interpreter that NEO_MXNET_PYTHON names."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from benchmarks.frameworks.entries import Made
from neo.contract.tensors import TensorSpec
from neo.errors import MissingDependency, ModelError

# the tests' program: it gives every weight a random value, running statistics included
_EXPORT = Path(__file__).parents[3] / "tests/frontends/mxnet_oracle/export_zoo.py"


def gluon(folder: Path, name: str, size: int) -> Made:
    python = os.environ.get("NEO_MXNET_PYTHON")
    if not python:
        raise MissingDependency("no MXNet to compare with", hint='export NEO_MXNET_PYTHON="$(scripts/mxnet-oracle)"')
    # MXNet's own kernels: those of oneDNN refuse some layers
    environment = {**os.environ, "MXNET_MKLDNN_ENABLED": "0"}
    command = [python, str(_EXPORT), name, str(size), str(folder / name)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ModelError(f"MXNet cannot export {name}: {done.stderr.strip()[-300:]}")
    return Made(folder / f"{name}-symbol.json", (TensorSpec("data", "float32", (1, 3, size, size)),))

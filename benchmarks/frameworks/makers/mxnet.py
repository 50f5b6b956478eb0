"""Networks of gluon, exported by real MXNet in the interpreter that NEO_MXNET_PYTHON names."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np

from benchmarks.frameworks.entries import Asked, Made
from benchmarks.frameworks.pictures import pictures
from neo.contract.tensors import TensorSpec
from neo.errors import MissingDependency, ModelError

# the tests' programs
_SCRIPTS = Path(__file__).parents[3] / "tests/frontends/mxnet_oracle"
ASKED = 4


def gluon(folder: Path, name: str, size: int) -> Made:
    """A network of the model zoo."""
    images, answers = folder / "pictures.npy", folder / "answers.npy"
    np.save(images, pictures(2 * ASKED, size, size))
    _run("export_zoo.py", name, str(size), str(folder / name), str(images), str(answers))
    asked = tuple(
        Asked((image[None],), (answer,))
        for image, answer in zip(np.load(images)[:ASKED], np.load(answers), strict=True)
    )
    return Made(folder / f"{name}-symbol.json", (TensorSpec("data", "float32", (1, 3, size, size)),), asked=asked)


def network(folder: Path, name: str, inputs: tuple[str, ...]) -> Made:
    """A small one, to be called with these inputs."""
    _run("export_networks.py", name, str(folder / "net"), onednn=True)
    return Made(folder / "net-symbol.json", tuple(map(TensorSpec.parse, inputs)))


def _run(script: str, *arguments: str, onednn: bool = False) -> None:
    python = os.environ.get("NEO_MXNET_PYTHON")
    if not python:
        raise MissingDependency("no MXNet to compare with", hint='export NEO_MXNET_PYTHON="$(scripts/mxnet-oracle)"')
    # each kind of kernels refuses some layers
    environment = {**os.environ, "MXNET_MKLDNN_ENABLED": str(int(onednn))}
    command = [python, str(_SCRIPTS / script), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ModelError(f"MXNet cannot export {arguments[0]}: {done.stderr.strip()[-300:]}")

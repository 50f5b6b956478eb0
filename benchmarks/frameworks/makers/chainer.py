"""Chains, filled by real Chainer in the interpreter that NEO_CHAINER_PYTHON names."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np

from benchmarks.frameworks.entries import Asked, Made
from benchmarks.frameworks.pictures import pictures
from neo.contract.tensors import TensorSpec
from neo.errors import MissingDependency, ModelError
from neo.frontends.base import Factory

ASKED = 4
_CHAINS = Path(__file__).parents[1] / "chainer/chains.py"


def chain(folder: Path, name: str, size: int) -> Made:
    """size: of the image, or of the row of a Perceptron."""
    python = os.environ.get("NEO_CHAINER_PYTHON")
    if not python:
        raise MissingDependency("no Chainer to compare with", hint='export NEO_CHAINER_PYTHON="$(scripts/chainer-env)"')
    row = name == "Perceptron"
    weights, asked, answered = folder / "weights.npz", folder / "asked.npy", folder / "answered.npy"
    random = np.random.default_rng(0)
    questions = random.standard_normal((ASKED, size)).astype(np.float32) if row else pictures(ASKED, size, size)
    np.save(asked, questions)
    command = [python, "-W", "ignore", str(_CHAINS), name, str(weights), str(asked), str(answered)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ModelError(f"Chainer cannot run {name}: {done.stderr.strip()[-300:]}")
    spec = TensorSpec("row" if row else "image", "float32", (1, *questions.shape[1:]))
    answers = tuple(
        Asked((question[None],), (answer,)) for question, answer in zip(questions, np.load(answered), strict=True)
    )
    return Made(weights, (spec,), asked=answers, factory=Factory(f"chains:{name}", _CHAINS.parent, weights))

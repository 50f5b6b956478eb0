"""Chainer chains (.npz and the code that builds the chain) to ONNX by Chainer's own exporter.

Chainer is retired and needs a numpy that cannot live beside ours: ``NEO_CHAINER_PYTHON`` names an interpreter that has
it; ``scripts/chainer-env`` makes one.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from neo.contract.tensors import TensorSpec
from neo.errors import InputSpecError, MissingDependency, ModelError, UsageError
from neo.frontends.base import Arrays, ConversionRequest, Factory, SourceModel
from neo.frontends.onnx_file import fix_shapes, interface
from neo.frontends.samples import random_inputs
from neo.frontends.shapes import fix_inputs

PYTHON_VARIABLE = "NEO_CHAINER_PYTHON"
_WORKER = Path(__file__).with_name("chainer_worker.py")
_HINT = f"run scripts/chainer-env once and set {PYTHON_VARIABLE} to the path that it prints"


def convert(request: ConversionRequest) -> SourceModel:
    """request.factory: the code; its weights: what chainer.serializers.save_npz wrote. request.inputs: all arguments of
    the chain, by name, with fixed sizes.

    Raises MissingDependency if no interpreter with Chainer is named, InputSpecError without inputs, ModelError with
    Chainer's own words for whatever it refuses.
    """
    if request.factory is None:
        raise UsageError(
            "a chain is code and weights", hint="give both: --module package.module:function --weights chain.npz"
        )
    inputs = _inputs(request)
    chain = _Chain(_interpreter(), request.factory, request.scratch)
    path = request.scratch / "model.onnx"
    (example,) = random_inputs(inputs, 1, request.seed, 1)
    names, _answers, version = chain.ask(example, path)
    fix_shapes(path, inputs)
    _inputs_written, outputs = interface(path)

    def run(arrays: Arrays) -> Arrays:
        _names, answers, _version = chain.ask(arrays, None)
        return dict(zip(names, answers, strict=True))

    return SourceModel(path, f"chainer {version}", inputs, outputs, run)


def _inputs(request: ConversionRequest) -> tuple[TensorSpec, ...]:
    if not request.inputs:
        raise InputSpecError(
            "a chain does not say the shape of its inputs",
            hint="describe its arguments: --input x=float32[1,3,224,224]",
        )
    fixed = fix_inputs(request.inputs, request.inputs, request.dims)
    dynamic = [dim for spec in fixed for dim in spec.dynamic_dims]
    if dynamic:
        raise InputSpecError(
            f"Chainer's exporter writes fixed sizes; {', '.join(dynamic)} has none",
            hint=" ".join(f"--dim {name}=1" for name in dynamic),
        )
    return fixed


def _interpreter() -> str:
    python = os.environ.get(PYTHON_VARIABLE)
    if not python:
        raise MissingDependency("Chainer needs a Python environment of its own", hint=_HINT)
    return python


class _Chain:
    """Runs one process per question: the chain is built, filled and asked."""

    def __init__(self, python: str, factory: Factory, scratch: Path) -> None:
        self._python = python
        self._factory = factory
        self._scratch = scratch

    def ask(self, arrays: Arrays, onnx: Path | None) -> tuple[list[str], list[Any], str]:
        """Names of the outputs, the outputs, and Chainer's version; writes the ONNX file if a path is given."""
        asked, answered = self._scratch / "chainer-inputs.npz", self._scratch / "chainer-outputs.npz"
        np.savez(asked, **{f"input{number}": array for number, array in enumerate(arrays.values())})  # type: ignore[arg-type]
        weights = self._factory.weights
        request = {
            "reference": self._factory.reference,
            "folder": str(self._factory.folder),
            "weights": str(weights) if weights else None,
            "names": list(arrays),
            "inputs": str(asked),
            "outputs": str(answered),
            "onnx": str(onnx) if onnx else None,
        }
        reply = self._call(request)
        with np.load(answered, allow_pickle=False) as found:
            answers = [found[f"output{number}"] for number in range(len(reply["outputs"]))]
        return reply["outputs"], answers, reply["version"]

    def _call(self, request: dict[str, Any]) -> dict[str, Any]:
        question, reply = self._scratch / "chainer-request.json", self._scratch / "chainer-reply.json"
        question.write_text(json.dumps(request), encoding="utf-8")
        try:
            # isolated: neither our PYTHONPATH nor the folder of the worker is for that interpreter
            done = subprocess.run(
                [self._python, "-I", str(_WORKER), str(question), str(reply)], capture_output=True, check=False
            )
        except OSError as error:
            raise MissingDependency(
                f"{PYTHON_VARIABLE}={self._python} cannot be started: {error.strerror}", hint=_HINT
            ) from error
        if done.returncode:
            words = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
            raise MissingDependency(f"Chainer in {PYTHON_VARIABLE} ended: {words[0]}", hint=_HINT)
        found: dict[str, Any] = json.loads(reply.read_text(encoding="utf-8"))
        if "error" in found:
            raise ModelError(
                f"Chainer cannot build or export {self._factory.reference}: {found['error']}",
                hint="check the names and shapes of --input, and that the weights are this chain's",
            )
        return found

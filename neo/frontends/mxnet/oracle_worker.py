"""Run by an interpreter that has MXNet 1.x: ``oracle_worker.py SYMBOL PARAMS``.

Requests come as JSON lines: {"names": [...], "inputs": NPZ, "outputs": NPZ}; the arrays are input0, output0 and so
on. Every request has one line for an answer: {} or {"error": ...}. The first line tells {"version": ...}. Nothing of
neo is imported here, and nothing newer than Python 3.8 and numpy 1.23 is used.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any, TextIO

import numpy as np

warnings.simplefilter("ignore")  # MXNet 1.9 uses names that numpy has deprecated

import mxnet as mx  # type: ignore[import-not-found]  # noqa: E402


class Model:
    def __init__(self, symbol_path: str, parameters_path: str) -> None:
        if _has_numpy_shapes(symbol_path):
            mx.util.set_np_shape(True)
        self._symbol = mx.sym.load(symbol_path)
        stored = mx.nd.load(parameters_path)
        self._parameters = {_without_prefix(name): array for name, array in stored.items()}

    def run(self, inputs: dict[str, Any]) -> list[Any]:
        """Outputs in the symbol's order. What is neither input nor parameter is a label: zeros will do."""
        shapes, _, state_shapes = self._symbol.infer_shape(**{name: array.shape for name, array in inputs.items()})
        known = dict(self._parameters)
        known.update({name: mx.nd.array(array, dtype=array.dtype) for name, array in inputs.items()})
        arguments = _complete(self._symbol.list_arguments(), shapes, known)
        states = _complete(self._symbol.list_auxiliary_states(), state_shapes, known)
        bound = self._symbol.bind(mx.cpu(), arguments, grad_req="null", aux_states=states)
        return [output.asnumpy() for output in bound.forward(is_train=False)]


def _has_numpy_shapes(symbol_path: str) -> bool:
    with Path(symbol_path).open(encoding="utf-8") as file:
        return bool(json.load(file).get("attrs", {}).get("is_np_shape", ["int", 0])[1] > 0)


def _without_prefix(name: str) -> str:
    return name[4:] if name.startswith(("arg:", "aux:")) else name


def _complete(names: list[str], shapes: list[Any], known: dict[str, Any]) -> dict[str, Any]:
    pairs = zip(names, shapes)  # noqa: B905 - Python 3.8 knows no strict
    return {name: known[name] if name in known else mx.nd.zeros(shape) for name, shape in pairs}


def serve(symbol_path: str, parameters_path: str) -> None:
    replies = _own_stdout()
    try:
        model = Model(symbol_path, parameters_path)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other side tells the user
        _reply(replies, {"error": _last_line(error)})
        return
    _reply(replies, {"version": mx.__version__})
    for line in sys.stdin:
        _reply(replies, _answer(model, json.loads(line)))


def _answer(model: Model, request: dict[str, Any]) -> dict[str, str]:
    try:
        with np.load(request["inputs"]) as arrays:
            inputs = {name: arrays[f"input{number}"] for number, name in enumerate(request["names"])}
        named: dict[str, Any] = {f"output{number}": array for number, array in enumerate(model.run(inputs))}
        np.savez(request["outputs"], **named)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other side tells the user
        return {"error": _last_line(error)}
    return {}


def _own_stdout() -> TextIO:
    """A copy of standard output for replies; whatever a library prints goes to standard error instead."""
    copy = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(copy, "w")


def _reply(stream: TextIO, reply: dict[str, str]) -> None:
    stream.write(json.dumps(reply) + "\n")
    stream.flush()


def _last_line(error: Exception) -> str:
    """MXNet's messages end with what went wrong, after a C++ stack trace."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2])

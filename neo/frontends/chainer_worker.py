"""Run by an interpreter that has Chainer 7: ``chainer_worker.py REQUEST REPLY``, both JSON files.

The request: {"reference", "folder", "weights" or null, "names", "inputs": NPZ, "outputs": NPZ, "onnx": file or null};
the arrays are input0, output0 and so on. The reply: {"version", "outputs": names} or {"error": ...}. Nothing of neo is
imported here, and nothing newer than Python 3.8 and numpy 1.23 is used.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

warnings.simplefilter("ignore")  # Chainer 7 uses names that numpy has deprecated

import chainer  # type: ignore[import-not-found]  # noqa: E402


def serve(request: dict[str, Any]) -> dict[str, Any]:
    chain = _chain(request)
    with np.load(request["inputs"]) as arrays:
        inputs = {name: arrays[f"input{number}"] for number, name in enumerate(request["names"])}
    with chainer.using_config("train", False), chainer.no_backprop_mode():
        answers = _named(chain(**inputs))
    if request["onnx"]:
        _export(chain, inputs, answers, request["onnx"])
    numbered: dict[str, Any] = {f"output{number}": value.array for number, value in enumerate(answers.values())}
    np.savez(request["outputs"], **numbered)
    return {"version": chainer.__version__, "outputs": list(answers)}


def _chain(request: dict[str, Any]) -> Any:
    sys.path.insert(0, request["folder"])
    os.chdir(request["folder"])
    module, _, name = request["reference"].partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    # a chain can be called too, but with its inputs
    chain = found if isinstance(found, chainer.Link) else found()
    if not isinstance(chain, chainer.Link):
        raise TypeError(f"{request['reference']} gives a {type(chain).__name__}, no chainer.Chain")
    if request["weights"]:
        chainer.serializers.load_npz(request["weights"], chain)
    return chain


def _named(returned: Any) -> dict[str, Any]:
    if isinstance(returned, dict):
        return returned
    if isinstance(returned, (list, tuple)):
        return {f"output_{number}": value for number, value in enumerate(returned)}
    return {"output": returned}


def _export(chain: Any, inputs: dict[str, Any], answers: dict[str, Any], path: str) -> None:
    import onnx_chainer  # type: ignore[import-not-found]

    names: Any = list(answers)
    if not names[0].startswith("output"):
        names = {name: name for name in answers}
    onnx_chainer.export(chain, inputs, filename=path, input_names={name: name for name in inputs}, output_names=names)


def main(request: Path, reply: Path) -> None:
    try:
        answer = serve(json.loads(request.read_text()))
    except Exception as error:  # noqa: BLE001 - whatever it is, the other side tells the user
        answer = {"error": f"{type(error).__name__}: {error}"}
    reply.write_text(json.dumps(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

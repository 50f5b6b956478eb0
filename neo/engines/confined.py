"""Graph rewriting and engine builds in a confined process: both read a model from outside, and compilers crash."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import platformdirs

from neo.contract.device import Target
from neo.contract.fields import as_object, dump_object, get, get_list, get_strings, parse_object
from neo.contract.precision import PRECISIONS
from neo.contract.tensors import TensorSpec
from neo.engines import ENGINES
from neo.engines.base import BuildRequest, BuiltEngine
from neo.errors import EngineError
from neo.isolation import Limits, isolated
from neo.isolation.call import Work
from neo.settings import APP, tuning_path

REQUEST_FILE = "build.json"


def build_engine(engine: str, request: BuildRequest, scratch: Path, limits: Limits | None = None) -> BuiltEngine:
    """Fill request.folder with the engine. scratch: an empty folder. limits: as for ``isolated``; request.tune_s is
    added to their seconds. request.tuning: None means the user's folder.

    Raises EngineError, ResourceLimitExceeded, DiskFull.
    """
    description = {
        "engine": engine,
        "onnx": str(request.onnx.resolve()),
        "target": request.target.to_json(),
        "inputs": [spec.to_json() for spec in request.inputs],
        "outputs": [spec.to_json() for spec in request.outputs],
        "folder": str(request.folder.resolve()),
        "precision": request.precision.name,
        "options": request.build_options(),
        # found here: the confined process has another home
        "tuning": str((request.tuning or tuning_path()).resolve()),
    }
    (scratch / REQUEST_FILE).write_bytes(dump_object(description))
    # the linker compiles C start-up files once for each target; without its cache that is 10 s every time
    cache = Path(platformdirs.user_cache_dir(APP)) / "zig"
    work = Work("neo.engines.confined:answer", f"building {engine} for {request.target.name}", EngineError)
    limits = limits or Limits.of_this_machine()
    limits = replace(limits, seconds=limits.seconds + request.tune_s)
    answer = isolated(work, scratch, limits, environment={"ZIG_GLOBAL_CACHE_DIR": str(cache)})
    finish = ENGINES[engine].finish
    if finish is not None:
        _resolve(finish)(request)
    needs = as_object(answer.get("needs"), "answer.needs")
    return BuiltEngine(get(answer, "version", str, "answer"), get_strings(answer, "notes", "answer"), needs)


def answer(scratch: Path) -> dict[str, Any]:
    """In the confined process."""
    obj = parse_object((scratch / REQUEST_FILE).read_bytes(), what="build request")
    request = BuildRequest(
        Path(obj["onnx"]),
        Target.from_json(obj["target"]),
        get_list(obj, "inputs", TensorSpec.from_json, "build request"),
        get_list(obj, "outputs", TensorSpec.from_json, "build request"),
        Path(obj["folder"]),
        PRECISIONS[obj["precision"]],
        tuning=Path(obj["tuning"]),
        **obj["options"],
    )
    built: BuiltEngine = _resolve(ENGINES[obj["engine"]].build)(request)
    return {"version": built.version, "notes": list(built.notes), "needs": dict(built.needs)}


def _resolve(entry: str) -> Any:
    module, function = entry.split(":")
    return getattr(importlib.import_module(module), function)

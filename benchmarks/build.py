"""Build one of our engines, in a process of its own that can be stopped: through the same steps as the pipeline.

``python -m benchmarks.build REQUEST.json`` reads {"engine", "onnx", "folder", "result"} and writes the result file:
{"seconds", "notes"}, or an error as NeoError writes it.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neo.engines import ENGINES
from neo.engines.base import BuildRequest, BuiltEngine
from neo.errors import EngineError, NeoError
from neo.frontends.onnx_file import interface
from neo.graph import rewrite
from neo.targets import HOST, load_target

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Build:
    """folder: the engine folder. seconds: rewriting the graph and building, without Python's own imports."""

    folder: Path
    seconds: float
    notes: tuple[str, ...]


def build_engine(engine: str, onnx: Path, folder: Path, limit_s: float) -> Build:
    """Raises EngineError if the engine cannot build the model, or not within limit_s seconds."""
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="neo-bench-") as scratch:
        request, result = Path(scratch) / "request.json", Path(scratch) / "result.json"
        fields = {"engine": engine, "onnx": str(onnx), "folder": str(folder), "result": str(result)}
        request.write_text(json.dumps(fields), encoding="utf-8")
        _run_limited([sys.executable, "-m", "benchmarks.build", str(request)], limit_s)
        answer: dict[str, Any] = json.loads(result.read_bytes())
    if "error" in answer:
        raise NeoError.from_json(answer)
    return Build(folder, answer["seconds"], tuple(answer["notes"]))


def _run_limited(command: list[str], limit_s: float) -> None:
    # a session of its own, so that a compiler started by the build ends with it
    child = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        _, said = child.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"not built within {limit_s:.0f} s", hint="--limit gives it more") from error
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        if child.stderr:
            child.stderr.close()
    if child.returncode:
        words = said.decode(errors="replace").strip()[-500:]
        raise EngineError(f"the build's process ended with code {child.returncode}: {words}")


def _build(engine: str, onnx: Path, folder: Path) -> tuple[BuiltEngine, float]:
    module, function = ENGINES[engine].split(":")
    build = getattr(importlib.import_module(module), function)
    inputs, outputs = interface(onnx)
    with tempfile.TemporaryDirectory(prefix="neo-bench-") as scratch:
        start = time.perf_counter()
        rewritten = rewrite(onnx, Path(scratch))
        built = build(BuildRequest(rewritten, load_target(HOST), inputs, outputs, folder))
        return built, time.perf_counter() - start


def main(request_file: str) -> None:
    request = json.loads(Path(request_file).read_bytes())
    try:
        built, seconds = _build(request["engine"], Path(request["onnx"]), Path(request["folder"]))
        result: dict[str, Any] = {"seconds": seconds, "notes": built.notes}
    except NeoError as error:
        result = error.to_json()
    Path(request["result"]).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])

"""The order of the tvm engine's stages."""

from __future__ import annotations

import importlib.metadata
import tempfile
from pathlib import Path

from neo.contract.tensors import TensorSpec
from neo.engines import engines_for
from neo.engines.base import BuildRequest, BuiltEngine
from neo.engines.onnxruntime.build import build as build_onnxruntime
from neo.engines.tvm.backend import Backend, open_backend
from neo.engines.tvm.importing.plan import Part, Plan, plan
from neo.engines.tvm.rewrites.weights import write_weights
from neo.errors import EngineError, NeoError
from neo.onnx_tools.files import load, save
from neo.runtime.engine_folder import ENGINE_FILE, EngineFolder


def build(request: BuildRequest) -> BuiltEngine:
    """Raises EngineError if TVM cannot import, compile or link the model, or only so little of it that cutting the
    model is not worth it.
    """
    _check_fixed(request.inputs)
    needs: dict[str, str] = {}
    may_cut = "onnxruntime" in engines_for(request.target)
    with open_backend(request) as backend:
        model = load(request.onnx)
        planned = plan(model, request.inputs, request.outputs, backend.write_recurrence, may_cut=may_cut)
        if len(planned.parts) == 1:
            left = _compile(planned.parts[0], request.folder, backend)
        else:
            left, needs = _build_segments(planned, request, backend)
    notes = (f"without a schedule of ours: {', '.join(left)}",) if left else ()
    version = importlib.metadata.version("apache-tvm-ffi")
    return BuiltEngine(version, (*planned.notes, *notes, *backend.notes()), needs)


def _build_segments(planned: Plan, request: BuildRequest, backend: Backend) -> tuple[tuple[str, ...], dict[str, str]]:
    """Makes an engine folder for each part; -> (functions without a schedule, other engines that a device needs)."""
    left: list[str] = []
    needs: dict[str, str] = {}
    folders = tuple(f"segments/{index}" for index in range(len(planned.parts)))
    for part, name in zip(planned.parts, folders, strict=True):
        folder = request.folder / name
        folder.mkdir(parents=True)
        if part.module is not None:
            left += _compile(part, folder, backend)
            continue
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "segment.onnx"
            save(part.model, path)
            built = build_onnxruntime(BuildRequest(path, request.target, part.inputs, part.outputs, folder))
        needs |= {"onnxruntime": built.version, **built.needs}
    description = EngineFolder("tvm", request.inputs, request.outputs, segments=folders)
    (request.folder / ENGINE_FILE).write_bytes(description.to_bytes())
    return tuple(left), needs


def _compile(part: Part, folder: Path, backend: Backend) -> tuple[str, ...]:
    """Fills the folder with code and weights; -> functions without a schedule."""
    try:
        scheduled = backend.schedule(backend.lower(part.module))
        assembled = backend.assemble(scheduled)
    except NeoError:
        raise
    except Exception as error:  # TVM raises errors of any type
        raise EngineError(
            f"tvm cannot compile the model: {str(error)[-400:]}", hint="use --engine onnxruntime"
        ) from error
    weights = write_weights([*scheduled.weights, *assembled.constants], folder)
    backend.link(assembled, folder)
    # shapes as compiled: those in the graph may be symbolic though they follow from the inputs
    outputs = tuple(
        TensorSpec(spec.name, *written) for spec, written in zip(part.outputs, assembled.outputs, strict=True)
    )
    description = EngineFolder(
        "tvm",
        part.inputs,
        outputs,
        weights,
        kernels=scheduled.costs,
        tiles=scheduled.tiles,
        steps=assembled.kernels,
        workspace=assembled.workspace_bytes,
    )
    (folder / ENGINE_FILE).write_bytes(description.to_bytes())
    return scheduled.left


def _check_fixed(inputs: tuple[TensorSpec, ...]) -> None:
    for spec in inputs:
        if spec.dynamic_dims:
            raise EngineError(
                f"the tvm engine needs fixed shapes; input {spec.name!r} has the dimensions {spec.dynamic_dims}",
                hint=f"fix them with --dim {spec.dynamic_dims[0]}=1, or use --engine onnxruntime",
            )

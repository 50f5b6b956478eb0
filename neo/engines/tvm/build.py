"""The order of the TVM engine's steps."""

from __future__ import annotations

import importlib.metadata
import tempfile
from pathlib import Path

import tvm
from tvm import relax

from neo.contract.device import Target
from neo.engines.base import BuildRequest, BuiltEngine
from neo.engines.tvm.importer import import_onnx
from neo.engines.tvm.layout import choose_layouts
from neo.engines.tvm.link import link
from neo.engines.tvm.schedules import schedule_module
from neo.engines.tvm.weights import lift_weights, write_weights
from neo.errors import EngineError
from neo.runtime.engine_folder import ENGINE_FILE, LIBRARY_FILE, EngineFolder


def build(request: BuildRequest) -> BuiltEngine:
    """Raises EngineError if TVM cannot import, compile or link the model."""
    module = import_onnx(request.onnx, request.inputs)
    llvm = llvm_target(request.target)
    try:
        module, arrays = lower_graph(module, llvm)
        module, unscheduled = schedule_module(module, request.target)
        executable = tvm.compile(module, target=llvm)
    except EngineError:
        raise
    except Exception as error:  # a compiler's failures are of every kind
        raise EngineError(
            f"tvm cannot compile the model: {str(error)[-400:]}", hint="use --engine onnxruntime"
        ) from error
    weights = write_weights(arrays, request.folder)
    with tempfile.TemporaryDirectory() as scratch:
        link(executable, request.target, request.folder / LIBRARY_FILE, Path(scratch))
    description = EngineFolder("tvm", request.inputs, request.outputs, weights)
    (request.folder / ENGINE_FILE).write_bytes(description.to_bytes())
    notes = (f"without a schedule of ours: {', '.join(unscheduled)}",) if unscheduled else ()
    return BuiltEngine(importlib.metadata.version("apache-tvm-ffi"), notes)


def llvm_target(target: Target) -> tvm.target.Target:
    options = {"kind": "llvm", "mtriple": target.triple, "mcpu": target.mcpu, "num-cores": target.cores}
    if target.attrs:
        options["mattr"] = list(target.attrs)
    return tvm.target.Target(options)


def lower_graph(module: tvm.IRModule, llvm: tvm.target.Target) -> tuple[tvm.IRModule, list]:  # type: ignore[type-arg]
    """Operators -> fused TensorIR functions; -> (module, the weights that ``main`` takes behind its inputs)."""
    with llvm:
        module = relax.transform.DecomposeOpsForInference()(module)
        module = choose_layouts(module)
        module = tvm.transform.Sequential(
            [
                relax.transform.LegalizeOps(),
                relax.transform.AnnotateTIROpPattern(),
                relax.transform.FoldConstant(),
                relax.transform.DeadCodeElimination(),
            ]
        )(module)
        module, arrays = lift_weights(module)
        module = tvm.transform.Sequential(
            [
                relax.transform.Normalize(),
                relax.transform.FuseOps(),
                relax.transform.FuseTIR(),
                relax.transform.DeadCodeElimination(),
            ]
        )(module)
    return module, arrays

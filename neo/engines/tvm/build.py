"""The order of the TVM engine's steps."""

from __future__ import annotations

import difflib
import importlib.metadata
import tempfile
from pathlib import Path
from typing import Any

import tvm
from numpy.typing import NDArray
from tvm import relax

from neo.contract.device import Target
from neo.engines.base import BuildRequest, BuiltEngine
from neo.engines.tvm.importer import import_onnx
from neo.engines.tvm.layout import choose_layouts
from neo.engines.tvm.link import link
from neo.engines.tvm.lowering import legalizations
from neo.engines.tvm.packing import pack_weights, packable_weights
from neo.engines.tvm.schedules import schedule_module
from neo.engines.tvm.stack import PIPELINE
from neo.engines.tvm.weights import lift_weights, write_weights
from neo.errors import EngineError, NeoError, TargetError
from neo.runtime.engine_folder import ENGINE_FILE, LIBRARY_FILE, EngineFolder


def build(request: BuildRequest) -> BuiltEngine:
    """Raises EngineError if TVM cannot import, compile or link the model."""
    module = import_onnx(request.onnx, request.inputs)
    llvm = llvm_target(request.target)
    _check_cpu(request.target, llvm)
    try:
        module, arrays = lower_graph(module, request.target, llvm)
        uses = packable_weights(module)
        scheduled = schedule_module(module, request.target, uses)
        module, arrays = pack_weights(scheduled.module, arrays, uses, scheduled.packings)
        executable = tvm.compile(module, target=llvm, tir_pipeline=PIPELINE)
    except NeoError:
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
    notes = (f"without a schedule of ours: {', '.join(scheduled.left)}",) if scheduled.left else ()
    return BuiltEngine(importlib.metadata.version("apache-tvm-ffi"), notes)


def llvm_target(target: Target) -> tvm.target.Target:
    options = {"kind": "llvm", "mtriple": target.triple, "mcpu": target.mcpu, "num-cores": target.cores}
    if target.attrs:
        options["mattr"] = list(target.attrs)
    return tvm.target.Target(options)


def _check_cpu(target: Target, llvm: tvm.target.Target) -> None:
    """LLVM takes a processor or feature it does not know for a generic one, and says so on stderr only."""
    cpus = {str(name) for name in tvm.target.codegen.llvm_get_cpu_archlist(llvm)}
    if target.mcpu not in cpus:
        close = difflib.get_close_matches(target.mcpu, cpus, 3)
        raise TargetError(
            f"target {target.name}: LLVM knows no {target.arch} processor {target.mcpu!r}",
            hint=f"did you mean {' or '.join(close)}?" if close else "see `neo targets` for examples",
        )


def lower_graph(
    module: tvm.IRModule, target: Target, llvm: tvm.target.Target
) -> tuple[tvm.IRModule, list[NDArray[Any]]]:
    """Operators -> fused TensorIR functions; -> (module, the weights that ``main`` takes behind its inputs)."""
    with llvm:
        module = relax.transform.DecomposeOpsForInference()(module)
        module = choose_layouts(module)
        module = tvm.transform.Sequential(
            [
                relax.transform.FoldConstant(),  # weights in their layout: their lowering may look at them
                relax.transform.LegalizeOps(legalizations(target)),
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

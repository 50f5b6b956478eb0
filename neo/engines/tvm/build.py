"""The order of the TVM engine's steps."""

from __future__ import annotations

import difflib
import importlib.metadata
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import tvm
from numpy.typing import NDArray
from tvm import relax

from neo.contract.device import Target
from neo.contract.precision import BF16, FP32
from neo.contract.tensors import TensorSpec
from neo.engines.base import BuildRequest, BuiltEngine, check_computes
from neo.engines.onnxruntime.build import build as build_onnxruntime
from neo.engines.tvm.cpu.codegen.host_passes import pipeline_of
from neo.engines.tvm.cpu.codegen.link import link
from neo.engines.tvm.cpu.codegen.sequence import compile_sequence
from neo.engines.tvm.cpu.lowering import Lowering
from neo.engines.tvm.cpu.lowering.arithmetic import FLOATS, Pairs
from neo.engines.tvm.cpu.lowering.attention import fuse_attention
from neo.engines.tvm.cpu.lowering.halves import store_halves
from neo.engines.tvm.cpu.lowering.rows import Rows
from neo.engines.tvm.cpu.schedules import schedule_module
from neo.engines.tvm.cpu.schedules.costs import kernel_costs
from neo.engines.tvm.cpu.schedules.packing import pack_weights, packable_weights
from neo.engines.tvm.cpu.schedules.placing import write_in_place
from neo.engines.tvm.cpu.tuning.cache import cache_at
from neo.engines.tvm.cpu.tuning.search import Tuner
from neo.engines.tvm.cpu.units.bfloat16 import Unit, unit_of
from neo.engines.tvm.importing.plan import Part, Plan, plan
from neo.engines.tvm.ir.constants import fold_constants
from neo.engines.tvm.layout import choose_layouts
from neo.engines.tvm.rewrites.simplify import simplify
from neo.engines.tvm.rewrites.taps import drop_taps
from neo.engines.tvm.rewrites.weights import lift_weights, write_weights
from neo.errors import EngineError, NeoError, TargetError
from neo.runtime.engine_folder import ENGINE_FILE, LIBRARY_FILE, EngineFolder

# protobuf writes at most 2 GiB in one file
LARGEST_EMBEDDED_BYTES = 1 << 30

#: precision -> what multiplies in it on a target; see ``_unit``
MULTIPLIERS: dict[str, Callable[[Target], Unit | None]] = {FP32.name: lambda _: None, BF16.name: unit_of}


def build(request: BuildRequest) -> BuiltEngine:
    """Raises EngineError if TVM cannot import, compile or link the model, or only so little of it that it does not pay
    to let ONNX Runtime run the rest.
    """
    _check_fixed(request.inputs)
    unit = _unit(request)
    llvm = llvm_target(request.target)
    _check_cpu(request.target, llvm)
    may_cut = "onnxruntime" in request.target.engines
    planned = plan(onnx.load(request.onnx), request.inputs, request.outputs, request.target, may_cut=may_cut)
    needs: dict[str, str] = {}
    cache = None if request.tuning is None else cache_at(request.tuning)
    with Tuner(request.target, llvm, cache, request.tune_s, unit=unit) as tuner:
        if len(planned.parts) == 1:
            left = _compile(planned.parts[0], request.target, llvm, request.folder, tuner)
        else:
            left, needs = _build_segments(planned, request, llvm, tuner)
    notes = (f"without a schedule of ours: {', '.join(left)}",) if left else ()
    version = importlib.metadata.version("apache-tvm-ffi")
    return BuiltEngine(version, (*planned.notes, *notes, *tuner.notes()), needs)


def _build_segments(
    planned: Plan, request: BuildRequest, llvm: tvm.target.Target, tuner: Tuner
) -> tuple[tuple[str, ...], dict[str, str]]:
    """An engine folder for each part; -> (what has no schedule, the other engines that a device needs)."""
    left: list[str] = []
    needs: dict[str, str] = {}
    folders = tuple(f"segments/{index}" for index in range(len(planned.parts)))
    for part, name in zip(planned.parts, folders, strict=True):
        folder = request.folder / name
        folder.mkdir(parents=True)
        if part.module is not None:
            left += _compile(part, request.target, llvm, folder, tuner)
            continue
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "segment.onnx"
            onnx.save_model(part.model, path, save_as_external_data=part.model.ByteSize() > LARGEST_EMBEDDED_BYTES)
            built = build_onnxruntime(BuildRequest(path, request.target, part.inputs, part.outputs, folder))
        needs |= {"onnxruntime": built.version, **built.needs}
    description = EngineFolder("tvm", request.inputs, request.outputs, segments=folders)
    (request.folder / ENGINE_FILE).write_bytes(description.to_bytes())
    return tuple(left), needs


def _unit(request: BuildRequest) -> Unit | None:
    """What multiplies in the precision that was asked for; None: the processor's usual instructions."""
    check_computes(request.target, request.precision)
    return MULTIPLIERS[request.precision.name](request.target)


def _compile(part: Part, target: Target, llvm: tvm.target.Target, folder: Path, tuner: Tuner) -> tuple[str, ...]:
    """Fill folder with code and weights; -> the functions without a schedule."""
    try:
        module, arrays = lower_graph(part.module, target, llvm, tuner.unit)
        costs = kernel_costs(module)
        uses = packable_weights(module)
        configurations = tuner.configurations(module, uses, costs, sum(array.nbytes for array in arrays))
        scheduled = schedule_module(module, target, uses, configurations)
        module, arrays = pack_weights(scheduled.module, arrays, uses, scheduled.packings)
        placed = write_in_place(module, target)
        compiled = compile_sequence(placed.module, llvm, pipeline_of(tuner.unit, target.cpu.cores))
    except NeoError:
        raise
    except Exception as error:  # a compiler's failures are of every kind
        raise EngineError(
            f"tvm cannot compile the model: {str(error)[-400:]}", hint="use --engine onnxruntime"
        ) from error
    weights = write_weights([*arrays, *compiled.constants], folder)
    with tempfile.TemporaryDirectory() as scratch:
        link(compiled.code, target, folder / LIBRARY_FILE, Path(scratch))
    counted = {cost.name: cost for cost in costs}
    costs += tuple(replace(counted[old], name=new) for new, old in placed.twins.items() if old in counted)
    # what the code writes: a graph may leave open what follows from its inputs
    outputs = tuple(
        TensorSpec(spec.name, *written) for spec, written in zip(part.outputs, compiled.outputs, strict=True)
    )
    description = EngineFolder(
        "tvm",
        part.inputs,
        outputs,
        weights,
        kernels=costs,
        tiles=scheduled.tiles,
        steps=compiled.kernels,
        workspace=compiled.workspace,
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


def llvm_target(target: Target) -> tvm.target.Target:
    options = {"kind": "llvm", "mtriple": target.cpu.triple, "mcpu": target.cpu.mcpu, "num-cores": target.cpu.cores}
    if target.cpu.attrs:
        options["mattr"] = list(target.cpu.attrs)
    return tvm.target.Target(options)


def _check_cpu(target: Target, llvm: tvm.target.Target) -> None:
    """LLVM takes a processor or feature it does not know for a generic one, and says so on stderr only."""
    cpus = {str(name) for name in tvm.target.codegen.llvm_get_cpu_archlist(llvm)}
    if target.cpu.mcpu not in cpus:
        close = difflib.get_close_matches(target.cpu.mcpu, cpus, 3)
        raise TargetError(
            f"target {target.name}: LLVM knows no {target.cpu.arch} processor {target.cpu.mcpu!r}",
            hint=f"did you mean {' or '.join(close)}?" if close else "see `neo targets` for examples",
        )


def lower_graph(
    module: tvm.IRModule, target: Target, llvm: tvm.target.Target, unit: Unit | None = None
) -> tuple[tvm.IRModule, list[NDArray[Any]]]:
    """Operators -> fused TensorIR functions; -> (module, the weights that ``main`` takes behind its inputs).

    unit: what multiplies bfloat16, if the model may be computed so.
    """
    lowering = Lowering(target, unit)
    with llvm:
        module = relax.transform.DecomposeOpsForInference()(module)
        module = drop_taps(fold_constants(module))
        module = simplify(choose_layouts(module, copies_images=unit is not None))
        module = fuse_attention(module, Rows(target, FLOATS if unit is None else Pairs(unit=unit)))
        if unit is not None:
            module = store_halves(module, lowering.reads_halves)
        module = tvm.transform.Sequential(
            [
                relax.transform.LegalizeOps(lowering.legalizations()),
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

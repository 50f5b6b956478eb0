from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import tvm
from tvm import tirx

from neo.contract.device import Target
from neo.contract.precision import BF16, FP32, Precision
from neo.engines.base import BuildRequest, BuiltEngine
from neo.engines.onnxruntime.build import build as build_onnxruntime
from neo.engines.tvm.build import build as build_tvm
from neo.engines.tvm.cpu.codegen.runtime_library import add_runtime_library
from neo.engines.tvm.cpu.lowering.graph import lower_graph
from neo.engines.tvm.cpu.lowering.recurrent import write_recurrence
from neo.engines.tvm.cpu.schedules import schedule_module
from neo.engines.tvm.cpu.schedules.packing import packable_weights
from neo.engines.tvm.cpu.units.llvm import llvm_target
from neo.engines.tvm.importing.importer import import_model
from neo.frontends.onnx_file import interface
from neo.graph import rewrite
from neo.runtime import load_engine
from neo.runtime.load import Engine
from neo.targets import HOST, load_target
from tests.engines.reference import reference_outputs, specs

Check = Callable[..., BuiltEngine]
Run = Callable[[onnx.ModelProto, np.ndarray], np.ndarray]

BUILDS = {"onnxruntime": build_onnxruntime, "tvm": build_tvm}


def to_bfloat16(array: np.ndarray) -> np.ndarray:
    """float32 with the lower half of the bits cut off: numbers that bfloat16 holds exactly."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    return bits.view(np.float32)


@pytest.fixture(params=list(BUILDS))
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def build_engine_here(
    engine: str, model: onnx.ModelProto, folder: Path, precision: Precision = FP32, target: str = HOST
) -> BuiltEngine:
    """In this process; -> folder/engine is filled."""
    (folder / "graph").mkdir(parents=True)
    (folder / "engine").mkdir()
    onnx.save(model, folder / "model.onnx")
    inputs, outputs = interface(folder / "model.onnx")
    rewritten = rewrite(folder / "model.onnx", folder / "graph")
    request = BuildRequest(rewritten, load_target(target), inputs, outputs, folder / "engine", precision)
    built = BUILDS[engine](request)
    if engine == "tvm":
        add_runtime_library(request)
    return built


def kernels(model: onnx.ModelProto) -> list[str]:
    """The names of the functions that the tvm engine makes of it for this machine."""
    return sorted(name.name_hint for name in lower(model, HOST).functions if name.name_hint != "main")


def schedule(model: onnx.ModelProto, target: str) -> dict[str, tirx.PrimFunc]:
    module = lower(model, target)
    functions = schedule_module(module, load_target(target), packable_weights(module)).module.functions
    return {name.name_hint: f for name, f in functions.items() if isinstance(f, tirx.PrimFunc)}


def lower(model: onnx.ModelProto, target: str) -> tvm.IRModule:
    made_for = load_target(target)
    module, _ = lower_graph(imported(model, made_for), made_for, llvm_target(made_for))
    return module


def imported(model: onnx.ModelProto, target: Target) -> tvm.IRModule:
    """As the importer makes it for the processors of that target."""
    return import_model(model, specs(model.graph.input), partial(write_recurrence, target=target))


def make_run(scratch: Path, target: str, open_engine: Callable[[Path, int], Engine]) -> Run:
    """As ``run_tvm``, for a target whose engine folders open_engine opens."""
    count = 0

    def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
        nonlocal count
        count += 1
        folder = scratch / f"tvm-{count}"
        build_engine_here("tvm", model, folder, target=target)
        (answer,) = open_engine(folder / "engine", 2).run([x])
        return answer

    return run


@pytest.fixture
def run_tvm(tmp_path: Path) -> Run:
    """The tvm engine's answer to one input."""
    return make_run(tmp_path, HOST, load_engine)


def make_check(scratch: Path, target: str, open_engine: Callable[[Path, int], Engine]) -> Check:
    """As ``agrees``, for a target whose engine folders open_engine opens."""
    count = 0

    def check(
        engine: str, model: onnx.ModelProto, *, threads: int = 2, max_rel: float = 1e-4, precision: Precision = FP32
    ) -> BuiltEngine:
        if not precision.runs_on(load_target(target).cpu):
            pytest.skip(f"the processor of target {target} does not compute in {precision.name}")
        nonlocal count
        count += 1
        folder = scratch / str(count)
        built = build_engine_here(engine, model, folder, precision, target)
        rng = np.random.default_rng(0)
        arrays = [rng.normal(size=spec.shape).astype(spec.dtype) for spec in specs(model.graph.input)]
        if precision == BF16:
            arrays = [to_bfloat16(array) for array in arrays]
        expected = reference_outputs(model, arrays)
        loaded = open_engine(folder / "engine", threads)
        for _ in range(2):  # the second run finds what the first left in its buffers
            for want, got in zip(expected, loaded.run(arrays), strict=True):
                assert got.shape == want.shape
                assert got.dtype == want.dtype
                assert np.abs(got - want).max(initial=0) <= max_rel * max(np.abs(want).max(initial=0), 1e-3)
        loaded.close()
        return built

    return check


@pytest.fixture
def agrees(tmp_path: Path) -> Check:
    """Build an engine for this machine, run it, and hold its answer against ONNX Runtime without optimisation."""
    return make_check(tmp_path, HOST, load_engine)

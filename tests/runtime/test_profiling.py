"""Profiles of both engines, and the arithmetic of the roofline."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from neo.compiler.measure import profile
from neo.contract.manifest import ENGINE_DIR
from neo.contract.tensors import TensorSpec
from neo.engines.base import BuildRequest
from neo.engines.tvm.build import build as build_tvm
from neo.engines.tvm.cpu.codegen.runtime_library import add_runtime_library
from neo.errors import BundleError, EngineError
from neo.graph import rewrite
from neo.runtime.engine_folder import ENGINE_FILE, EngineFolder
from neo.runtime.golden import write_golden
from neo.runtime.profiling.profile import KernelTime, Profile, Roofline
from neo.runtime.profiling.statistics import typical, typical_parts
from neo.targets import load_target
from tests.engines.conftest import build_engine_here
from tests.models import IR_VERSION, OPSET, build, classifier
from tests.runtime.bundles import describe, onnxruntime_bundle

INPUTS = (TensorSpec("x", "float32", (1, 1, 8, 8)),)
OUTPUTS = (TensorSpec("y", "float32", (1, 10)),)


@pytest.fixture(scope="module")
def tvm_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tvm")
    (folder / ENGINE_DIR).mkdir()
    (folder / "graph").mkdir()
    model = rewrite(classifier(folder / "model.onnx"), folder / "graph")
    request = BuildRequest(model, load_target("host"), INPUTS, OUTPUTS, folder / ENGINE_DIR)
    build_tvm(request)
    add_runtime_library(request)
    write_golden(folder, [({"x": np.ones((1, 1, 8, 8), np.float32)}, {"y": np.zeros((1, 10))})])
    return folder


def test_every_tvm_kernel_has_its_time_its_shape_and_its_distance_from_the_roofline(tvm_bundle: Path) -> None:
    found = profile(tvm_bundle, 1, runs=20)
    answer = found.to_json()
    known = {cost.name for cost in EngineFolder.read(tvm_bundle / ENGINE_DIR).kernels}
    assert {row["name"] for row in answer["kernels"]} <= known
    assert len(answer["kernels"]) > 3
    assert [row["ms"] for row in answer["kernels"]] == sorted((row["ms"] for row in answer["kernels"]), reverse=True)
    assert sum(row["share"] for row in answer["kernels"]) == pytest.approx(1)
    (convolution,) = (row for row in answer["kernels"] if "conv2d" in row["name"])
    assert convolution["outputs"] == ((1, 8, 8, 16),)
    assert convolution["flops"] == 64 * 16 * (2 * 9 + 1)  # multiply-adds, bias; a ReLU compares
    for row in answer["kernels"]:
        if row["ms"] > 0:  # the clock does not see the shortest
            assert row["gflops"] == pytest.approx(row["flops"] / row["ms"] / 1e6)
            assert row["limit"] in {"memory", "arithmetic"}
            assert row["of_attainable"] > 0


def test_a_tvm_bundle_from_before_costs_were_written_down_has_times_only(tvm_bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(tvm_bundle, tmp_path / "old")
    description = tmp_path / "old" / ENGINE_DIR / ENGINE_FILE
    fields = json.loads(description.read_bytes())
    del fields["kernels"], fields["schema"]  # as they were: without a version
    description.write_text(json.dumps(fields))
    found = profile(tmp_path / "old", 1, runs=5)
    assert len(found.kernels) > 3
    assert all(kernel.ms >= 0 and kernel.flops is None and kernel.outputs == () for kernel in found.kernels)
    assert {row["gflops"] for row in found.to_json()["kernels"]} == {None}


def test_damaged_costs_are_refused(tvm_bundle: Path, tmp_path: Path) -> None:
    fields = json.loads((tvm_bundle / ENGINE_DIR / ENGINE_FILE).read_bytes())
    for damage in ({"flops": -1}, {"outputs": [["x"]]}, {"name": 3}, {"moved_bytes": None}):
        damaged = {**fields, "kernels": [{**fields["kernels"][0], **damage}]}
        (tmp_path / ENGINE_FILE).write_text(json.dumps(damaged))
        with pytest.raises(BundleError, match="kernel"):
            EngineFolder.read(tmp_path)


def test_onnxruntime_names_its_nodes_and_their_operators(tmp_path: Path) -> None:
    found = profile(onnxruntime_bundle(tmp_path / "bundle"), 1, runs=20)
    assert {kernel.operator for kernel in found.kernels} >= {"Neg"}
    assert {kernel.outputs for kernel in found.kernels} == {((2, 3),)}
    assert {(kernel.calls, kernel.flops) for kernel in found.kernels} == {(1, None)}
    assert (found.runs, found.threads) == (20, 1)
    assert found.whole_ms > 0
    assert Profile.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_cut_graph_shows_the_kernels_of_both_engines_and_where_they_run(tmp_path: Path) -> None:
    weights = {"w": np.ones((16, 64), np.float32), "k": np.array([40])}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("TopK", ["a", "k"], ["best", "where"], axis=1, largest=0),
        helper.make_node("ReduceSum", ["best"], ["sum"], keepdims=1),
        helper.make_node("Mul", ["a", "sum"], ["y"]),
    ]
    build_engine_here("tvm", build(nodes, {"x": (3, 16)}, {"y": (3, 64)}, weights), tmp_path)
    assert EngineFolder.read(tmp_path / ENGINE_DIR).segments
    write_golden(tmp_path, [({"x": np.ones((3, 16), np.float32)}, {"y": np.zeros((3, 64), np.float32)})])
    kernels = profile(tmp_path, 1, runs=5).kernels
    assert {kernel.operator for kernel in kernels} >= {None, "TopK"}
    (product,) = (kernel for kernel in kernels if "matmul" in kernel.name)
    assert product.name.startswith("0: ")
    # rows may be filled up to those of a register tile, which depend on the processor
    assert 2 * 3 * 16 * 64 <= product.flops <= 2 * 4 * 16 * 64


def test_the_time_inside_a_loop_is_not_counted_twice(tmp_path: Path) -> None:
    folder = describe(tmp_path / "bundle")
    onnx.save(looping_model(), folder / ENGINE_DIR / "model.onnx")
    operators = {kernel.operator: kernel.calls for kernel in profile(folder, 1, runs=5).kernels}
    assert "Loop" not in operators
    assert operators["Exp"] == 4


def looping_model() -> onnx.ModelProto:
    """Y = exp, four times over, of the columns that are left; x float32 (2, 4) -> y, z float32 (2, 3)."""
    state = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in ("before", "after")]
    iteration = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    go_on, goes_on = (helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("go_on", "goes_on"))
    steps = [helper.make_node("Identity", ["go_on"], ["goes_on"]), helper.make_node("Exp", ["before"], ["after"])]
    body = helper.make_graph(steps, "body", [iteration, go_on, state[0]], [goes_on, state[1]])
    constants = [
        helper.make_tensor(name, TensorProto.INT64, [1], [value])
        for name, value in (("start", 0), ("end", 3), ("axis", 1))
    ]
    constants.append(helper.make_tensor("count", TensorProto.INT64, [], [4]))
    nodes = [
        helper.make_node("Slice", ["x", "start", "end", "axis"], ["left"]),
        helper.make_node("Loop", ["count", "", "left"], ["y"], body=body),
        helper.make_node("Neg", ["y"], ["z"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in "yz"]
    graph = helper.make_graph(nodes, "g", [x], outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def test_what_the_engine_cannot_load_is_the_same_error_as_without_a_profile(tmp_path: Path) -> None:
    folder = onnxruntime_bundle(tmp_path / "bundle")
    (folder / ENGINE_DIR / "model.onnx").write_bytes(b"rubbish")
    with pytest.raises(EngineError, match="onnxruntime cannot load"):
        profile(folder, 1)


def test_a_kernel_is_bound_by_arithmetic_or_by_memory() -> None:
    machine = Roofline(peak_gflops=100.0, bandwidth_gb_s=10.0)
    assert machine.attainable_gflops(flops=1000, moved_bytes=10) == 100
    assert machine.attainable_gflops(flops=1000, moved_bytes=1000) == 10
    assert machine.attainable_gflops(flops=1000, moved_bytes=0) == 100
    kernels = (
        KernelTime("product", None, 1, 2.0, ((1,),), flops=100_000_000, moved_bytes=1000),
        KernelTime("copy", None, 2, 1.0, ((1,),), flops=0, moved_bytes=5_000_000),
    )
    product, copy = Profile(1, 5, 4.0, machine, kernels).to_json()["kernels"]
    assert (product["gflops"], product["of_attainable"], product["limit"]) == (50, 0.5, "arithmetic")
    assert (copy["gflops"], copy["gb_s"], copy["of_attainable"], copy["limit"]) == (0, 5, 0.5, "memory")
    assert (product["share"], copy["share"]) == (pytest.approx(2 / 3), pytest.approx(1 / 3))


def test_outliers_do_not_count_and_parts_add_up_to_a_typical_run() -> None:
    assert typical([5.0]) == 5
    assert typical([1.0, 2.0, 4.0, 1000.0]) == 3
    runs = [{"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 90.0}, {"a": 2.0, "b": 1.0}, {"a": 1.0, "b": 3.0}]
    parts = typical_parts(runs)
    assert parts == {"a": 1.5, "b": 2.0}
    assert sum(parts.values()) == typical([sum(run.values()) for run in runs])

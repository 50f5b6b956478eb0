"""What a kernel is said to compute and to move, against counting by hand."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from neo.contract.device import Target
from neo.engines.tvm.cpu.lowering.graph import lower_graph
from neo.engines.tvm.cpu.schedules.costs import kernel_costs
from neo.engines.tvm.cpu.units.bfloat16 import unit_of
from neo.engines.tvm.cpu.units.llvm import llvm_target
from neo.runtime.engine_folder import KernelCost
from neo.targets import load_target
from tests.engines.conftest import imported
from tests.models import IR_VERSION, OPSET, build


def costs(model: onnx.ModelProto, bf16: Target | None = None) -> dict[str, KernelCost]:
    """bf16: a target to compute on in bfloat16."""
    target = bf16 or load_target("host")
    unit = None if bf16 is None else unit_of(bf16)
    module, _ = lower_graph(imported(model, target), target, llvm_target(target), unit)
    return {cost.name: cost for cost in kernel_costs(module)}


def test_a_multiply_add_is_two_operations_and_every_operand_is_moved_once() -> None:
    (cost,) = costs(product()).values()
    assert cost.flops == 2 * 256 * 32 + 32
    assert cost.moved_bytes == 4 * (256 + 256 * 32 + 32 + 32)
    assert cost.outputs == ((1, 32),)


def test_a_product_of_pairs_is_four_operations_and_its_operands_are_half_as_large() -> None:
    target = load_target("x86-64-v4-bf16")
    costs_by_output = {c.outputs: c for c in costs(product(), target).values()}
    found = costs_by_output[((1, 32),)]
    assert found.flops == 2 * 256 * 32 + 32
    assert found.moved_bytes == 2 * (256 + 256 * 32) + 4 * (32 + 32)


def product() -> onnx.ModelProto:
    weights = {"w": np.ones((256, 32), np.float32), "b": np.ones(32, np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["m", "b"], ["y"])]
    return build(nodes, {"x": (1, 256)}, {"y": (1, 32)}, weights)


def test_a_lookup_moves_the_rows_it_reads_and_not_the_table() -> None:
    table = numpy_helper.from_array(np.ones((1000, 64), np.float32), "table")
    indices = helper.make_tensor_value_info("indices", TensorProto.INT64, [1, 8])
    rows = helper.make_tensor_value_info("rows", TensorProto.FLOAT, [1, 8, 64])
    graph = helper.make_graph([helper.make_node("Gather", ["table", "indices"], ["rows"])], "g", [indices], [rows])
    graph.initializer.append(table)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    (lookup,) = (cost for cost in costs(model).values() if cost.outputs == ((1, 8, 64),))
    assert lookup.moved_bytes == 8 * 8 + 2 * 8 * 64 * 4


def test_every_part_of_a_tensor_is_moved_by_itself() -> None:
    model = build([helper.make_node("Split", ["x"], ["a", "b"])], {"x": (8, 4)}, {"a": (4, 4), "b": (4, 4)})
    for cost in costs(model).values():
        assert cost.outputs == ((4, 4),)
        assert cost.moved_bytes == 2 * 4 * 16


def test_what_is_one_opaque_block_is_left_out() -> None:
    names = {"x": (8,), "updates": (4,)}
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in names.items()]
    indices = helper.make_tensor_value_info("indices", TensorProto.INT64, [4, 1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [8])
    node = helper.make_node("ScatterND", ["x", "indices", "updates"], ["y"])
    graph = helper.make_graph([node], "g", [*infos, indices], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    assert "scatter_nd" not in costs(model)


def test_a_transpose_moves_its_input_and_its_output_and_computes_nothing() -> None:
    nodes = [helper.make_node("Transpose", ["x"], ["y"], perm=[1, 0])]
    model = build(nodes, {"x": (96, 80)}, {"y": (80, 96)})
    (cost,) = costs(model).values()
    assert (cost.flops, cost.moved_bytes) == (0, 2 * 4 * 96 * 80)

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from neo.onnx_tools.walk import graphs, model_nodes, nodes, subgraphs, tensors

FLOAT = TensorProto.FLOAT


def constant(name: str) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ones(2, np.float32), name)


def branch(name: str, inside: list[onnx.NodeProto]) -> onnx.GraphProto:
    """Adds a constant of its own to x."""
    add = helper.make_node("Add", ["x", f"{name}_w"], [f"{name}_y"], name=f"{name}_add")
    output = helper.make_tensor_value_info(f"{name}_y", FLOAT, [2])
    return helper.make_graph([*inside, add], name, [], [output], [constant(f"{name}_w")])


def choice(name: str, inside: list[onnx.NodeProto]) -> onnx.NodeProto:
    then, other = branch(f"{name}_then", inside), branch(f"{name}_else", [])
    # make_node sorts the attributes by name
    return helper.make_node("If", ["c"], [f"{name}_y"], name=name, then_branch=then, else_branch=other)


def nested() -> onnx.ModelProto:
    """An If in the branch of an If, and one in a function; a value in an attribute and a sparse one."""
    sparse = helper.make_sparse_tensor(
        helper.make_tensor("sparse", FLOAT, [1], [3.0]), helper.make_tensor("where", TensorProto.INT64, [1], [1]), [2]
    )
    held = helper.make_node("Constant", [], ["k"], name="k", value=constant("attribute"))
    graph = helper.make_graph(
        [held, choice("outer", [choice("inner", [])])],
        "g",
        [helper.make_tensor_value_info("x", FLOAT, [2]), helper.make_tensor_value_info("c", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("outer_y", FLOAT, [2])],
        [constant("w")],
        sparse_initializer=[sparse],
    )
    function = helper.make_function("own", "F", ["x", "c"], ["f_y"], [choice("f", [])], [helper.make_opsetid("", 18)])
    return helper.make_model(graph, functions=[function])


def test_every_graph_is_visited_once_the_outer_before_the_inner() -> None:
    found = [graph.name for graph in graphs(nested().graph)]
    assert found == ["g", "outer_else", "outer_then", "inner_else", "inner_then"]


def test_the_graphs_of_a_node_are_those_of_its_own_attributes() -> None:
    outer = nested().graph.node[1]
    assert [graph.name for graph in subgraphs(outer)] == ["outer_else", "outer_then"]


def test_nodes_at_every_depth_and_in_functions_are_found() -> None:
    model = nested()
    assert [node.name for node in nodes(model.graph.node)] == [
        "k", "outer", "outer_else_add", "inner", "inner_else_add", "inner_then_add", "outer_then_add",
    ]  # fmt: skip
    assert {"f", "f_then_add", "f_else_add"} <= {node.name for node in model_nodes(model)}


def test_every_tensor_that_holds_values_is_found() -> None:
    found = [tensor.name for tensor in tensors(nested())]
    assert sorted(found) == sorted(
        [
            *("w", "sparse", "where", "attribute"),
            *("outer_then_w", "outer_else_w", "inner_then_w", "inner_else_w", "f_then_w", "f_else_w"),
        ]
    )

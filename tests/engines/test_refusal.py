"""What is not given to TVM's importer though it would take it: answers would be wrong, or missing on a device."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from neo.engines.tvm.importing.importer import known_operators
from neo.engines.tvm.importing.onnx_facts import multiply_adds, read_facts
from neo.engines.tvm.importing.refusal import refused_operators
from tests.models import IR_VERSION, OPSET, build


def reasons(model: onnx.ModelProto) -> dict[int, str]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    return refused_operators(graph, read_facts(graph), known_operators())


def resize(before: tuple[int, int], after: tuple[int, int], *, scales: bool = False, **attributes: Any) -> str:
    """The reason why it is refused; "" if it is not."""
    factors = np.array([1, 1, after[0] / before[0] + 0.05, after[1] / before[1] + 0.05], np.float32)
    weights = {"scales": factors} if scales else {"sizes": np.array([1, 1, *after])}
    node = helper.make_node("Resize", ["x", "", "scales"] if scales else ["x", "", "", "sizes"], ["y"], **attributes)
    return reasons(build([node], {"x": (1, 1, *before)}, {"y": (1, 1, *after)}, weights)).get(0, "")


@pytest.mark.parametrize(
    ("before", "after", "attributes", "said"),
    [
        ((4, 6), (8, 12), {"mode": "nearest"}, ""),
        ((4, 6), (7, 12), {"mode": "nearest"}, ""),
        ((4, 6), (7, 12), {"mode": "nearest", "coordinate_transformation_mode": "tf_crop_and_resize"}, "whole ratios"),
        ((4, 6), (7, 11), {"mode": "linear"}, ""),
        ((4, 6), (7, 11), {"mode": "linear", "scales": True}, "whole sizes"),
        ((4, 6), (2, 3), {"mode": "linear", "coordinate_transformation_mode": "half_pixel_symmetric"}, "symmetric"),
    ],
)
def test_resize_is_taken_where_tvm_means_the_same(
    before: tuple[int, int], after: tuple[int, int], attributes: dict[str, Any], said: str
) -> None:
    reason = resize(before, after, **attributes)
    assert said in reason
    assert bool(said) == bool(reason)


def test_an_operator_of_another_domain_is_not_taken_for_onnx_s_own() -> None:
    model = build([helper.make_node("Relu", ["x"], ["y"])], {"x": (2,)}, {"y": (2,)})
    model.graph.node[0].domain = "my.domain"
    refused = refused_operators(model.graph, read_facts(model.graph), known_operators())
    assert refused == {0: "TVM does not know the operators of my.domain"}


def test_one_sign_of_infinity_is_refused_and_both_are_not() -> None:
    nodes = [
        helper.make_node("IsInf", ["x"], ["a"], detect_negative=0),
        helper.make_node("IsInf", ["x"], ["b"]),
        helper.make_node("Or", ["a", "b"], ["c"]),
        helper.make_node("Cast", ["c"], ["y"], to=1),
    ]
    assert list(reasons(build(nodes, {"x": (2,)}, {"y": (2,)}))) == [0]


def test_axes_and_shapes_have_to_be_constant() -> None:
    nodes = [
        helper.make_node("Unsqueeze", ["x", "axes"], ["a"]),
        helper.make_node("Unsqueeze", ["x", "zero"], ["b"]),
        helper.make_node("Squeeze", ["b"], ["c"]),
        helper.make_node("Squeeze", ["b", "axes"], ["d"]),
        helper.make_node("ConstantOfShape", ["axes"], ["e"]),
        helper.make_node("ConstantOfShape", ["zero"], ["f"]),
    ]
    shapes = {"a": (1, 2), "b": (1, 2), "c": (2,), "d": (2,), "e": (1,), "f": (0,)}
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, (2,)),
            helper.make_tensor_value_info("axes", TensorProto.INT64, (1,)),
        ],
        values,
        [helper.make_tensor("zero", TensorProto.INT64, (1,), [0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    assert list(reasons(model)) == [0, 3, 4]


def test_the_indices_of_a_pooling_and_the_shape_of_a_transposed_convolution_are_refused() -> None:
    nodes = [
        helper.make_node("ConvTranspose", ["x", "w"], ["c"], strides=[2, 2], output_shape=[8, 8]),
        helper.make_node("MaxPool", ["c"], ["y", "where"], kernel_shape=[2, 2]),
        helper.make_node("MaxPool", ["c"], ["z"], kernel_shape=[2, 2]),
    ]
    weights = {"w": np.zeros((1, 1, 3, 3), np.float32)}
    model = build(nodes, {"x": (1, 1, 4, 4)}, {"y": (1, 1, 7, 7), "z": (1, 1, 7, 7)}, weights)
    assert list(reasons(model)) == [0, 1]


def test_statistics_that_nobody_reads_are_no_reason_to_refuse_a_layer_norm() -> None:
    weights = {"g": np.ones(4, np.float32)}
    node = helper.make_node("LayerNormalization", ["x", "g"], ["y", "mean"], axis=1)
    model = build([node], {"x": (3, 4)}, {"y": (3, 4)}, weights)
    assert list(reasons(model)) == [0]
    node.output[1] = ""
    assert not reasons(build([node], {"x": (3, 4)}, {"y": (3, 4)}, weights))


@pytest.mark.parametrize(
    ("node", "shape", "result", "weights", "count"),
    [
        (
            helper.make_node("Conv", ["x", "w"], ["y"], group=2),
            (1, 4, 5, 5),
            (1, 6, 3, 3),
            {"w": (6, 2, 3, 3)},
            54 * 18,
        ),
        (helper.make_node("ConvTranspose", ["x", "w"], ["y"]), (1, 4, 5, 5), (1, 6, 7, 7), {"w": (4, 6, 3, 3)}, 5400),
        (helper.make_node("MatMul", ["x", "w"], ["y"]), (3, 4), (3, 5), {"w": (4, 5)}, 60),
        (helper.make_node("Gemm", ["x", "w"], ["y"], transA=1), (4, 3), (3, 5), {"w": (4, 5)}, 60),
        (
            helper.make_node("RNN", ["x", "w", "r"], ["y"], hidden_size=2),
            (7, 1, 3),
            (7, 1, 1, 2),
            {"w": (1, 2, 3), "r": (1, 2, 2)},
            7 * (6 + 4),
        ),
        (helper.make_node("Relu", ["x"], ["y"]), (3, 4), (3, 4), {}, 0),
    ],
)
def test_multiply_adds_are_counted(
    node: onnx.NodeProto,
    shape: tuple[int, ...],
    result: tuple[int, ...],
    weights: dict[str, tuple[int, ...]],
    count: int,
) -> None:
    arrays = {name: np.zeros(dims, np.float32) for name, dims in weights.items()}
    graph = build([node], {"x": shape}, {"y": result}, arrays).graph
    assert multiply_adds(graph.node[0], read_facts(graph)) == count


def test_the_remainder_with_the_divisors_sign_is_refused_of_floats() -> None:
    def taken(**attributes: int) -> bool:
        node = helper.make_node("Mod", ["x", "d"], ["y"], **attributes)
        return not reasons(build([node], {"x": (4,)}, {"y": (4,)}, {"d": np.ones(4, np.float32)}))

    assert taken(fmod=1)
    graph = onnx.helper.make_graph(
        [helper.make_node("Mod", ["x", "x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.INT64, [4])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.INT64, [4])],
    )
    assert refused_operators(graph, read_facts(graph), known_operators()) == {}
    graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    assert "divisor" in refused_operators(graph, read_facts(graph), known_operators())[0]


@pytest.mark.parametrize(("reduction", "said"), [("max", "loses NaN"), ("min", "loses NaN"), ("add", ""), ("none", "")])
def test_the_extreme_of_what_is_scattered_is_refused(reduction: str, said: str) -> None:
    node = helper.make_node("ScatterElements", ["x", "at", "x"], ["y"], reduction=reduction)
    model = build([node], {"x": (2, 3)}, {"y": (2, 3)}, {"at": np.zeros((2, 3), np.int64)})
    assert said in reasons(model).get(0, "")
    assert bool(said) == bool(reasons(model))

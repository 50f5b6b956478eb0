"""Names of dimensions as exporters write them, and outputs that say nothing of their shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from neo.errors import InputSpecError, UnsupportedModel
from neo.frontends.base import Conversion
from neo.frontends.onnx_file import interface
from tests.frontends.conftest import Convert

Dims = list[int | str | None]
IMAGE = "x=float32[1,3,8,8]"


def tensor(name: str, dims: Dims | None, dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, dims)


def write(path: Path, inputs: dict[str, Dims], nodes: list[onnx.NodeProto], outputs: dict[str, Dims | None]) -> Path:
    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "g",
        [tensor(name, dims) for name, dims in inputs.items()],
        [tensor(name, dims) for name, dims in outputs.items()],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def convolution(path: Path, inputs: Dims, outputs: Dims) -> Path:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    return write(path, {"x": inputs}, nodes, {"y": outputs})


def shapes(converted: Conversion) -> list[str]:
    return [str(spec) for spec in (*converted.inputs, *converted.outputs)]


def stated(path: Path) -> list[list[int | str]]:
    graph = onnx.load(path).graph
    return [
        [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    ]


HALF = "floor(h/2 - 1/2) + 1"


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ([None, 3, "?", "?"], [None, 4, "?", "?"]),
        ([-1, 3, -1, -1], [-1, 4, -1, -1]),
        ([-1, 3, -7, -7], [-1, 4, -2, -2]),
        (["N", 3, "h", "w"], ["N", 4, HALF, "floor(w/2 - 1/2) + 1"]),
        (["N", 3, "2*s0", "w"], ["N", 4, "s0", "w2"]),
        (["пачка", 3, "高さ", "β"], ["пачка", 4, "高さ/2", "(β)"]),
        (["N", 3, "", " "], ["N", 4, "x" * 200, "\n"]),
        ([0, 3, 8, 8], [0, 4, 4, 4]),
    ],
)
def test_any_name_of_a_dimension_is_taken_once_the_sizes_are_given(
    tmp_path: Path, through_sandbox: Convert, inputs: Dims, outputs: Dims
) -> None:
    converted = through_sandbox(convolution(tmp_path / "m.onnx", inputs, outputs), IMAGE)
    assert shapes(converted) == [IMAGE, "y=float32[1,4,4,4]"]
    assert stated(converted.onnx) == [[1, 3, 8, 8], [1, 4, 4, 4]]
    assert converted.parity is not None
    assert converted.parity.max_abs == 0.0


def test_names_in_any_alphabet_are_names(tmp_path: Path, through_sandbox: Convert) -> None:
    path = convolution(tmp_path / "m.onnx", ["N", 3, "高さ", "β"], ["N", 4, "?", "?"])
    assert shapes(through_sandbox(path, dims={"高さ": 8, "β": 6})) == ["x=float32[1,3,8,6]", "y=float32[1,4,4,3]"]


def test_a_size_without_a_name_is_asked_for_by_one_that_a_flag_can_hold(
    tmp_path: Path, through_sandbox: Convert
) -> None:
    path = convolution(tmp_path / "m.onnx", ["N", 3, "?", "?"], ["N", 4, "?", "?"])
    with pytest.raises(InputSpecError, match="without a size: x_2, x_3") as caught:
        through_sandbox(path)
    assert "--dim x_2=SIZE --dim x_3=SIZE" in caught.value.hint
    assert shapes(through_sandbox(path, dims={"x_2": 8, "x_3": 6})) == ["x=float32[1,3,8,6]", "y=float32[1,4,4,3]"]


def test_a_made_up_name_is_none_that_the_model_has(tmp_path: Path, through_sandbox: Convert) -> None:
    path = convolution(tmp_path / "m.onnx", ["N", 3, "?", "x_2"], ["N", 4, "?", "?"])
    converted = through_sandbox(path, dims={"x_2": 6, "x_2_": 8})
    assert shapes(converted)[0] == "x=float32[1,3,8,6]"


@pytest.mark.parametrize("unknown", ["?", -1, None])
def test_two_sizes_without_a_name_are_two_sizes(
    tmp_path: Path, through_sandbox: Convert, unknown: int | str | None
) -> None:
    nodes = [helper.make_node("MatMul", ["a", "b"], ["y"]), helper.make_node("Neg", ["a"], ["z"])]
    outputs: dict[str, Dims | None] = {"y": [unknown, unknown], "z": [unknown, unknown]}
    path = write(tmp_path / "m.onnx", {"a": [unknown, unknown], "b": [unknown, unknown]}, nodes, outputs)
    converted = through_sandbox(path, "a=float32[2,3]", "b=float32[3,5]")
    assert shapes(converted)[2:] == ["y=float32[2,5]", "z=float32[2,3]"]


def test_one_name_given_to_two_inputs_is_one_size(tmp_path: Path, through_sandbox: Convert) -> None:
    nodes = [helper.make_node("Concat", ["a", "b"], ["y"], axis=1)]
    path = write(tmp_path / "m.onnx", {"a": ["高", 3], "b": ["高", 4]}, nodes, {"y": ["高", 7]})
    with pytest.raises(InputSpecError, match="dimension '高' gets two sizes: 2 and 5"):
        through_sandbox(path, "a=float32[2,3]", "b=float32[5,4]")


def test_a_dimension_stays_dynamic_beside_outputs_with_impossible_names(
    tmp_path: Path, through_sandbox: Convert
) -> None:
    path = convolution(tmp_path / "m.onnx", ["?", 3, "?", "?"], ["?", 4, HALF, HALF])
    converted = through_sandbox(path, "x=float32[B,3,8,8]")
    assert shapes(converted) == ["x=float32[B,3,8,8]", "y=float32[B,4,4,4]"]


def test_sizes_that_only_folding_finds_are_stated(tmp_path: Path, through_sandbox: Convert) -> None:
    """As torch's exporter flattens two axes: the new shape is computed from the old one's product."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], start=2),
        helper.make_node("ReduceProd", ["s"], ["n"], keepdims=1),
        helper.make_node("Shape", ["x"], ["l"], end=2),
        helper.make_node("Concat", ["l", "n"], ["to"], axis=0),
        helper.make_node("Reshape", ["x", "to"], ["y"]),
    ]
    path = write(tmp_path / "m.onnx", {"x": ["b", 3, "h", "w"]}, nodes, {"y": ["b", 3, "(h)*(w)"]})
    assert shapes(through_sandbox(path, dims={"h": 8, "w": 8})) == [IMAGE, "y=float32[1,3,64]"]


@pytest.mark.parametrize("dims", [[2], ["N", 3]])
def test_an_output_without_a_shape_gets_the_one_that_inference_finds(
    tmp_path: Path, through_sandbox: Convert, dims: Dims
) -> None:
    path = write(tmp_path / "m.onnx", {"x": dims}, [helper.make_node("Relu", ["x"], ["y"])], {"y": None})
    converted = through_sandbox(path)
    assert converted.outputs[0].shape == converted.inputs[0].shape


def test_an_output_without_a_type_gets_the_one_that_inference_finds(tmp_path: Path, through_sandbox: Convert) -> None:
    path = write(tmp_path / "m.onnx", {"x": [2]}, [helper.make_node("Relu", ["x"], ["y"])], {"y": [2]})
    model = onnx.load(path)
    model.graph.output[0].ClearField("type")
    path.write_bytes(model.SerializeToString())
    assert shapes(through_sandbox(path)) == ["x=float32[2]", "y=float32[2]"]


def test_an_output_whose_shape_nobody_knows_is_named(tmp_path: Path, through_sandbox: Convert) -> None:
    nodes = [
        helper.make_node("Cast", ["s"], ["to"], to=TensorProto.INT64),
        helper.make_node("Expand", ["x", "to"], ["y"]),
    ]
    path = write(tmp_path / "m.onnx", {"x": [1], "s": ["r"]}, nodes, {"y": None})
    with pytest.raises(UnsupportedModel, match="'y' has no shape"):
        through_sandbox(path, "s=float32[R]")


def test_sizes_in_branches_are_forgotten_too(tmp_path: Path, through_sandbox: Convert) -> None:
    """In both branches "?" stands for another size than in the graph around them."""
    node = helper.make_node("Slice", ["x", "zero", "one", "zero"], ["t"])
    then = helper.make_graph([node], "then", [], [tensor("t", ["?", "?"])])
    other = helper.make_graph([helper.make_node("Neg", ["x"], ["e"])], "else", [], [tensor("e", ["?", "?"])])
    zero, one = (numpy_helper.from_array(np.array([i]), name) for i, name in enumerate(("zero", "one")))
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
            helper.make_node("Cast", ["m"], ["c"], to=TensorProto.BOOL),
            helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other),
        ],
        "g",
        [tensor("x", ["?", "?"])],
        [tensor("y", ["?", "?"])],
        [zero, one],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    converted = through_sandbox(tmp_path / "m.onnx", "x=float32[3,4]")
    session = onnxruntime.InferenceSession(str(converted.onnx), providers=["CPUExecutionProvider"])
    for x in (np.zeros((3, 4), np.float32), np.ones((3, 4), np.float32)):
        assert session.run(None, {"x": x})[0].shape == ((1, 4) if x.any() else (3, 4))


def test_unknown_first_sizes_of_outputs_are_no_batch(tmp_path: Path) -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["t"]), helper.make_node("Transpose", ["t"], ["y"])]
    path = write(tmp_path / "m.onnx", {"x": ["N", 3]}, nodes, {"y": ["?", 2]})
    assert [str(spec) for specs in interface(path) for spec in specs] == ["x=float32[N,3]", "y=float32[y_0,2]"]

"""Every kind of ONNX file that a user may bring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.frameworks.makers.onnx import digits_network, quantised
from neo.errors import UnsupportedModel
from neo.frontends.base import Conversion, ConversionRequest
from neo.frontends.conversion import convert
from neo.frontends.onnx_file import open_in_onnxruntime
from neo.graph import rewrite
from tests.engines.reference import reference_outputs

LATEST = onnx.defs.onnx_opset_version()


def converted(model: onnx.ModelProto | Path, folder: Path, **request: object) -> Conversion:
    """In this process: all of these are friendly. What was converted is rewritten too, and must answer alike."""
    path = model if isinstance(model, Path) else folder / "source.onnx"
    if isinstance(model, onnx.ModelProto):
        onnx.save(model, path)
    for name in ("scratch", "graph"):
        (folder / name).mkdir()
    conversion = convert(ConversionRequest(path, "onnx", folder / "scratch", samples=2, **request))  # type: ignore[arg-type]
    run, _runtime = open_in_onnxruntime(rewrite(conversion.onnx, folder / "graph"))
    for sample in conversion.samples:
        found = run(sample.inputs)
        for name, wanted in sample.outputs.items():
            np.testing.assert_allclose(found[name], wanted, rtol=1e-3, atol=1e-5)
    return conversion


def model_of(
    nodes: list[onnx.NodeProto],
    *constants: onnx.TensorProto,
    opset: int = 18,
    ir_version: int = 10,
    shape: tuple[int, ...] = (2, 3),
) -> onnx.ModelProto:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y], list(constants))
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


def array(values: object, name: str) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values), name)


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 17, 21, LATEST])
def test_every_operator_set_from_7_on_is_read(opset: int, tmp_path: Path) -> None:
    conversion = converted(digits_network(opset), tmp_path)
    assert [str(spec) for spec in conversion.outputs] == ["scores=float32[1,10]"]
    assert conversion.reference.endswith("on the original file")


def test_an_operator_of_a_set_before_7_is_brought_to_it(tmp_path: Path) -> None:
    """Then, operands were broadcast only on request."""
    node = helper.make_node("Add", ["x", "b"], ["y"], broadcast=1, axis=1)
    conversion = converted(model_of([node], array(np.float32([1, 2, 3]), "b"), opset=6, ir_version=4), tmp_path)
    for sample in conversion.samples:
        np.testing.assert_allclose(sample.outputs["y"], sample.inputs["x"] + np.float32([1, 2, 3]))


@pytest.mark.parametrize("ir_version", [3, 4, 7, onnx.IR_VERSION])
def test_every_ir_version_from_3_on_is_read_and_weights_are_no_inputs(ir_version: int, tmp_path: Path) -> None:
    model = model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], array(np.eye(3, dtype=np.float32), "w"))
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [3, 3]))
    model.ir_version = ir_version
    conversion = converted(model, tmp_path)
    assert [spec.name for spec in conversion.inputs] == ["x"]
    assert [value.name for value in onnx.load(conversion.onnx).graph.input] == ["x"]


@pytest.mark.parametrize("qdq", [True, False], ids=["QDQ", "QOperator"])
def test_a_quantised_model_still_knows_its_digits(qdq: bool, tmp_path: Path) -> None:
    from neo.demo.digits import load_digits

    onnx.save(digits_network(17), tmp_path / "digits.onnx")
    conversion = converted(quantised(tmp_path / "digits.onnx", qdq=qdq), tmp_path)
    held_out = load_digits()[1]
    model = onnx.load(conversion.onnx)
    answers = [int(reference_outputs(model, [image[None]])[0].argmax()) for image in held_out.images[:60]]
    assert np.mean(np.array(answers) == held_out.labels[:60]) > 0.85


def test_a_float16_model_stays_one(tmp_path: Path) -> None:
    model = model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], array(np.eye(3, dtype=np.float16), "w"))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    assert converted(model, tmp_path).outputs[0].dtype == "float16"


def test_external_data_may_lie_in_several_files_at_offsets(tmp_path: Path) -> None:
    model = model_of([helper.make_node("MatMul", ["x", "a"], ["z"]), helper.make_node("Add", ["z", "b"], ["y"])])
    values = {"a": np.diag(np.float32([1, 2, 3])), "b": np.float32([4, 5, 6])}
    (tmp_path / "one.bin").write_bytes(bytes(64) + values["a"].tobytes())
    (tmp_path / "two.bin").write_bytes(bytes(128) + values["b"].tobytes() + bytes(8))
    for (name, value), file, offset in zip(values.items(), ("one.bin", "two.bin"), (64, 128), strict=True):
        tensor = model.graph.initializer.add(
            name=name, data_type=TensorProto.FLOAT, dims=value.shape, data_location=TensorProto.EXTERNAL
        )
        for key, text in (("location", file), ("offset", offset), ("length", value.nbytes)):
            tensor.external_data.add(key=key, value=str(text))
    (tmp_path / "source.onnx").write_bytes(model.SerializeToString())
    for sample in converted(tmp_path / "source.onnx", tmp_path).samples:
        np.testing.assert_allclose(sample.outputs["y"], sample.inputs["x"] @ values["a"] + values["b"], rtol=1e-5)


def test_an_operator_of_onnx_runtimes_own_is_taken(tmp_path: Path) -> None:
    converted(model_of([helper.make_node("FastGelu", ["x"], ["y"], domain="com.microsoft")]), tmp_path)


def test_an_operator_that_onnx_runtime_lacks_is_said_in_others(tmp_path: Path) -> None:
    """Its Swish is for few types only; ONNX defines it as x * sigmoid(alpha * x)."""
    model = model_of([helper.make_node("Swish", ["x"], ["y"], alpha=2.0)], opset=24)
    conversion = converted(model, tmp_path)
    for sample in conversion.samples:
        x = sample.inputs["x"]
        np.testing.assert_allclose(sample.outputs["y"], x / (1 + np.exp(-2 * x)), rtol=1e-4, atol=1e-6)


def test_an_operator_that_nobody_has_an_implementation_of_is_named(tmp_path: Path) -> None:
    model = model_of([helper.make_node("ImageDecoder", ["bytes"], ["pixels"])], opset=20)
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("bytes", TensorProto.UINT8, [100]))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["h", "w", 3]))
    with pytest.raises(UnsupportedModel, match="ImageDecoder"):
        converted(model, tmp_path)


def branch(name: str, *nodes: onnx.NodeProto) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), name, [], [helper.make_tensor_value_info(f"{name}_out", 1, [2, 3])])


def test_branches_see_the_constants_that_are_folded_around_them(tmp_path: Path) -> None:
    """A + b is folded outside, and both branches read it."""
    then, otherwise = (
        branch(name, helper.make_node(operator, ["x", "folded"], [f"{name}_out"]))
        for name, operator in (("then", "Add"), ("otherwise", "Mul"))
    )
    nodes = [
        helper.make_node("Add", ["a", "b"], ["folded"]),
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["y"], then_branch=then, else_branch=otherwise),
    ]
    constants = [array(np.float32(value), name) for name, value in (("a", 1.5), ("b", 2.5), ("zero", 0))]
    for sample in converted(model_of(nodes, *constants), tmp_path).samples:
        x = sample.inputs["x"]
        np.testing.assert_allclose(sample.outputs["y"], x + 4 if x.sum() > 0 else x * 4, rtol=1e-5)


def test_a_loop_is_taken(tmp_path: Path) -> None:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["still"]),
            helper.make_node("Add", ["state", "twice"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [2, 3]),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [2, 3]),
        ],
    )
    nodes = [
        helper.make_node("Add", ["one", "one"], ["twice"]),
        helper.make_node("Loop", ["trips", "", "x"], ["y"], body=body),
    ]
    model = model_of(nodes, array(np.int64(5), "trips"), array(np.float32(1), "one"))
    for sample in converted(model, tmp_path).samples:
        np.testing.assert_allclose(sample.outputs["y"], sample.inputs["x"] + 10, rtol=1e-5)


def test_nodes_without_names_or_with_one_name_and_an_unused_input_are_taken(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Neg", ["a"], ["b"], name="same"),
        helper.make_node("Exp", ["b"], ["y"], name="same"),
    ]
    model = model_of(nodes)
    model.graph.input.append(helper.make_tensor_value_info("unused", TensorProto.INT64, [1]))
    assert [spec.name for spec in converted(model, tmp_path).inputs] == ["x", "unused"]


def test_a_model_without_inputs_and_one_that_hands_its_input_on_are_taken(tmp_path: Path) -> None:
    for name in ("none", "same"):
        (tmp_path / name).mkdir()
    constant = model_of([helper.make_node("Identity", ["c"], ["y"])], array(np.ones((2, 3), np.float32), "c"))
    del constant.graph.input[:]
    assert converted(constant, tmp_path / "none").inputs == ()
    handed_on = model_of([helper.make_node("Relu", ["x"], ["y"])])
    handed_on.graph.output.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, (2, 3)))
    conversion = converted(handed_on, tmp_path / "same")
    assert [spec.name for spec in conversion.outputs] == ["y", "x"]


def test_scalars_and_empty_tensors_are_tensors(tmp_path: Path) -> None:
    for name in ("scalar", "empty"):
        (tmp_path / name).mkdir()
    assert (
        converted(model_of([helper.make_node("Neg", ["x"], ["y"])], shape=()), tmp_path / "scalar").inputs[0].shape
        == ()
    )
    empty = converted(model_of([helper.make_node("Neg", ["x"], ["y"])], shape=(0, 3)), tmp_path / "empty")
    assert empty.samples[0].outputs["y"].shape == (0, 3)

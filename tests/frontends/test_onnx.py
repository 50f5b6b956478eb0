from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from neo.errors import InputSpecError, ModelError, ParityError, UnsupportedModel, UntrustedModel
from tests.frontends.conftest import Convert

STANDARD = [("", 18)]


def value(name: str, shape: list[int | str], dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def write(
    path: Path,
    nodes: list[onnx.NodeProto],
    opsets: list[tuple[str, int]] = STANDARD,
    functions: list[onnx.FunctionProto] | None = None,
) -> Path:
    weight = numpy_helper.from_array(np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["features"], name="conv", pads=[1, 1, 1, 1]), *nodes],
        "tiny",
        [value("x", ["batch", 3, "h", "w"])],
        [value("y", ["batch", 4, "h", "w"])],
        [weight],
    )
    imports = [helper.make_opsetid(*opset) for opset in opsets]
    model = helper.make_model(graph, opset_imports=imports, functions=functions or [], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def relu(tmp_path: Path) -> Path:
    return write(tmp_path / "relu.onnx", [helper.make_node("Relu", ["features"], ["y"])])


def with_external_weights(path: Path, location: str | None = None) -> Path:
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    if location is not None:
        model = onnx.load(path, load_external_data=False)
        next(entry for entry in model.graph.initializer[0].external_data if entry.key == "location").value = location
        path.write_bytes(model.SerializeToString())
    return path


def test_an_onnx_model_gets_fixed_shapes_and_answers_like_the_original(relu: Path, through_sandbox: Convert) -> None:
    converted = through_sandbox(relu, dims={"h": 6, "w": 5})
    assert [str(spec) for spec in (*converted.inputs, *converted.outputs)] == [
        "x=float32[1,3,6,5]",
        "y=float32[1,4,6,5]",
    ]
    assert converted.parity is not None
    assert converted.parity.max_rel == 0.0
    assert converted.reference.startswith("onnxruntime ")
    assert converted.reference.endswith("on the original file")
    assert len(converted.samples) == 4
    for sample in converted.samples:
        assert sample.inputs["x"].shape == (1, 3, 6, 5)
        assert sample.outputs["y"].min() >= 0.0


def test_a_named_dimension_in_input_stays_dynamic(relu: Path, through_sandbox: Convert) -> None:
    converted = through_sandbox(relu, "x=float32[B,3,6,5]")
    assert str(converted.outputs[0]) == "y=float32[B,4,6,5]"


def test_dimensions_without_a_size_are_named(relu: Path, through_sandbox: Convert) -> None:
    with pytest.raises(InputSpecError, match="without a size: h, w") as caught:
        through_sandbox(relu)
    assert "--dim h=SIZE --dim w=SIZE" in caught.value.hint


def test_weights_beside_the_model_come_along(relu: Path, through_sandbox: Convert) -> None:
    converted = through_sandbox(with_external_weights(relu), dims={"h": 6, "w": 5})
    assert onnx.load(converted.onnx).graph.initializer[0].raw_data
    assert converted.onnx.with_name("weights.bin").is_file()


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "sub/../../secret", "link"])
def test_weights_outside_the_models_folder_are_not_read(
    relu: Path, tmp_path: Path, through_sandbox: Convert, location: str
) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    with pytest.raises(UntrustedModel, match="outside its own folder"):
        through_sandbox(with_external_weights(relu, location), dims={"h": 6, "w": 5})


def test_missing_weights_are_named(relu: Path, through_sandbox: Convert) -> None:
    with pytest.raises(ModelError, match=r"'gone\.bin'.*no such file"):
        through_sandbox(with_external_weights(relu, "gone.bin"), dims={"h": 6, "w": 5})


@pytest.mark.parametrize(("domain", "shown"), [("", "Fancy"), ("my.ops", "my.ops:Fancy")])
def test_an_unknown_operator_is_named_with_its_node(
    tmp_path: Path, through_sandbox: Convert, domain: str, shown: str
) -> None:
    node = helper.make_node("Fancy", ["features"], ["y"], name="fancy_1", domain=domain)
    path = write(tmp_path / "m.onnx", [node], [*STANDARD, ("my.ops", 1)])
    with pytest.raises(UnsupportedModel) as caught:
        through_sandbox(path, dims={"h": 6, "w": 5})
    assert f"{shown} (node 'fancy_1')" in caught.value.message


def test_an_operator_that_the_model_defines_itself_is_no_unknown_one(tmp_path: Path, through_sandbox: Convert) -> None:
    body = [helper.make_node("Relu", ["a"], ["b"])]
    function = helper.make_function("my.ops", "Fancy", ["a"], ["b"], body, [helper.make_opsetid("", 18)])
    node = helper.make_node("Fancy", ["features"], ["y"], domain="my.ops")
    path = write(tmp_path / "m.onnx", [node], [*STANDARD, ("my.ops", 1)], [function])
    converted = through_sandbox(path, dims={"h": 6, "w": 5})
    assert all(sample.outputs["y"].min() >= 0.0 for sample in converted.samples)


def test_a_golden_file_replaces_the_random_samples(relu: Path, tmp_path: Path, through_sandbox: Convert) -> None:
    x = np.zeros((1, 3, 6, 5), np.float32)
    np.savez(tmp_path / "mine.npz", x=x, y=np.zeros((1, 4, 6, 5), np.float32))
    converted = through_sandbox(relu, dims={"h": 6, "w": 5}, golden=tmp_path / "mine.npz")
    assert converted.reference == "golden file mine.npz"
    (sample,) = converted.samples
    np.testing.assert_array_equal(sample.inputs["x"], x)


@pytest.mark.parametrize(("wrong", "says"), [(0.5, "differs by 0.5"), (np.nan, "is not finite")])
def test_a_golden_file_with_other_answers_is_a_parity_error(
    relu: Path, tmp_path: Path, through_sandbox: Convert, wrong: float, says: str
) -> None:
    np.savez(tmp_path / "mine.npz", x=np.zeros((1, 3, 6, 5), np.float32), y=np.full((1, 4, 6, 5), wrong, np.float32))
    with pytest.raises(ParityError, match=says) as caught:
        through_sandbox(relu, dims={"h": 6, "w": 5}, golden=tmp_path / "mine.npz")
    assert "output 'y'" in caught.value.message


def test_a_damaged_graph_is_a_modelerror(relu: Path, through_sandbox: Convert) -> None:
    content = bytearray(relu.read_bytes())
    content[content.index(b"Conv") - 1] = 200
    relu.write_bytes(bytes(content))
    with pytest.raises(ModelError, match="damaged"):
        through_sandbox(relu, dims={"h": 6, "w": 5})


def test_shapes_that_contradict_each_other_name_the_input(tmp_path: Path, through_sandbox: Convert) -> None:
    reshape = numpy_helper.from_array(np.array([1, 120], np.int64), "shape")
    node = helper.make_node("Reshape", ["features", "shape"], ["y"])
    path = write(tmp_path / "m.onnx", [node])
    model = onnx.load(path)
    model.graph.initializer.append(reshape)
    model.graph.output[0].CopyFrom(value("y", [1, 120]))
    onnx.save(model, path)
    assert str(through_sandbox(path, dims={"h": 6, "w": 5}).outputs[0]) == "y=float32[1,120]"


def test_an_input_of_a_type_that_numpy_lacks_is_refused_by_name(tmp_path: Path, through_sandbox: Convert) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["short"], ["y"])],
        "g",
        [value("short", [1], TensorProto.BFLOAT16)],
        [value("y", [1], TensorProto.BFLOAT16)],
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    with pytest.raises(UnsupportedModel, match="'short' has the type"):
        through_sandbox(path)


def of_one_matrix(path: Path, size: int, nodes: list[onnx.NodeProto], rows: int | str = 1) -> Path:
    weight = np.random.default_rng(0).standard_normal((size, size)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["product"]), *nodes],
        "product",
        [value("x", [rows, size])],
        [value("y", [rows, size])],
        [numpy_helper.from_array(weight, "w")],
    )
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]).SerializeToString())
    return path


@pytest.mark.parametrize("rows", [1, "batch"])
def test_large_weights_leave_the_graph_and_the_answers_stay(
    tmp_path: Path, through_sandbox: Convert, rows: int | str
) -> None:
    """1 states every size, and the file answers for itself; with "batch" it is compared with the original."""
    path = of_one_matrix(tmp_path / "big.onnx", 600, [helper.make_node("Tanh", ["product"], ["y"])], rows)
    converted = through_sandbox(path)
    assert converted.onnx.stat().st_size < 10_000
    (weight,) = onnx.load(converted.onnx).graph.initializer
    matrix = numpy_helper.to_array(weight)
    np.testing.assert_array_equal(matrix, numpy_helper.to_array(onnx.load(path).graph.initializer[0]))
    assert converted.parity is not None
    assert converted.parity.max_abs == 0
    assert converted.reference.endswith("on the original file")
    assert len(converted.samples) == 4
    for sample in converted.samples:
        np.testing.assert_allclose(sample.outputs["y"], np.tanh(sample.inputs["x"] @ matrix), rtol=1e-4, atol=1e-5)
    assert {sample.kind for sample in converted.special} >= {"zeros", "NaN", "infinities"}

"""From the two files of an MXNet model to ONNX, with no MXNet around."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from sklearn.datasets import load_digits

from neo.contract.parity import compare
from neo.contract.tensors import TensorSpec
from neo.errors import InputSpecError, MissingDependency, ModelError, UnsupportedModel
from neo.frontends.base import ConversionRequest, SourceModel
from neo.frontends.mxnet import convert
from neo.frontends.mxnet.conversion import check_operators
from neo.frontends.mxnet.files import locate
from neo.frontends.mxnet.params import read_parameters
from neo.frontends.mxnet.symbol import read_symbol

FOLDER = Path(__file__).parents[2] / "neo/demo/mxnet_digits"
DIGITS = FOLDER / "digits-symbol.json"
ONE_IMAGE = TensorSpec("data", "float32", (1, 1, 8, 8))


@pytest.fixture(autouse=True)
def no_mxnet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEO_MXNET_PYTHON", raising=False)


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A copy of the demo's model that a test may damage; the symbol's path."""
    for name in ("digits-symbol.json", "digits-0000.params"):
        shutil.copy(FOLDER / name, tmp_path / name)
    return tmp_path / "digits-symbol.json"


def request(source: Path, scratch: Path, *inputs: TensorSpec, **dims: int) -> ConversionRequest:
    return ConversionRequest(source, "mxnet", scratch, inputs, dims)


def edit(symbol: Path, name: str, **changes: Any) -> None:
    """Change one node of the symbol; attributes are added to those it has."""
    document = json.loads(symbol.read_text())
    node = next(node for node in document["nodes"] if node["name"] == name)
    node["attrs"] = {**node.get("attrs", {}), **changes.pop("attrs", {})}
    node.update(changes)
    symbol.write_text(json.dumps(document))


def answers(model: SourceModel, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.onnx, providers=["CPUExecutionProvider"])
    return session.run(["softmax_output"], {"data": images})[0]


def held_out() -> tuple[np.ndarray, np.ndarray]:
    data = load_digits()
    test = np.random.RandomState(0).permutation(1797)[:360]
    return (data.images[test] / 16.0).astype(np.float32)[:, np.newaxis], data.target[test]


def test_digits_network_gives_what_mxnet_gave_when_it_was_trained(tmp_path: Path) -> None:
    images, labels = held_out()
    model = convert(request(DIGITS, tmp_path, TensorSpec("data", "float32", images.shape)))
    outputs = answers(model, images)
    expected = np.load(FOLDER / "holdout-outputs.npz")["outputs"]
    assert compare({"y": expected}, {"y": outputs}).max_rel < 1e-5
    assert (outputs.argmax(axis=1) == expected.argmax(axis=1)).all()
    assert (outputs.argmax(axis=1) == labels).mean() >= 0.98


def test_source_model_says_what_onnx_says(tmp_path: Path) -> None:
    model = convert(request(DIGITS, tmp_path, ONE_IMAGE))
    assert model.inputs == (ONE_IMAGE,)
    assert model.outputs == (TensorSpec("softmax_output", "float32", (1, 10)),)
    assert model.framework == "mxnet (symbol of version 1.9.1)"
    assert model.run is None
    graph = onnx.load(model.onnx).graph
    assert [value.name for value in graph.input] == ["data"]
    assert [value.name for value in graph.output] == ["softmax_output"]


def test_initialisers_keep_the_names_of_the_parameters(tmp_path: Path) -> None:
    model = convert(request(DIGITS, tmp_path, ONE_IMAGE))
    parameters = read_parameters(FOLDER / "digits-0000.params")
    stored = {item.name: onnx.numpy_helper.to_array(item) for item in onnx.load(model.onnx).graph.initializer}
    assert parameters.keys() <= stored.keys()
    for name, array in parameters.items():
        np.testing.assert_array_equal(stored[name], array)


def test_a_convolution_without_a_bias_has_two_inputs(digits: Path, tmp_path: Path) -> None:
    """With an empty third one ONNX Runtime would not fold the batch normalisation behind it."""
    symbol = json.loads(digits.read_text())
    for node in symbol["nodes"]:
        if node["op"] == "Convolution":
            node["attrs"]["no_bias"] = "True"
            node["inputs"] = node["inputs"][:2]
    digits.write_text(json.dumps(symbol))
    model = onnx.load(convert(request(digits, tmp_path, ONE_IMAGE)).onnx)
    assert [len(node.input) for node in model.graph.node if node.op_type == "Conv"] == [2] * 2


def test_batch_may_stay_dynamic(tmp_path: Path) -> None:
    model = convert(request(DIGITS, tmp_path, TensorSpec("data", "float32", ("N", 1, 8, 8))))
    assert model.outputs[0].shape == ("N", 10)
    assert answers(model, np.zeros((3, 1, 8, 8), np.float32)).shape == (3, 10)


def test_dims_fix_a_dynamic_dimension(tmp_path: Path) -> None:
    model = convert(request(DIGITS, tmp_path, TensorSpec("data", "float32", ("N", 1, 8, 8)), N=4))
    assert model.inputs[0].shape == (4, 1, 8, 8)


def test_shape_in_the_symbol_needs_no_flag(digits: Path, tmp_path: Path) -> None:
    edit(digits, "data", attrs={"__shape__": "(2, 1, 8, 8)", "__dtype__": "0"})
    assert convert(request(digits, tmp_path)).inputs == (TensorSpec("data", "float32", (2, 1, 8, 8)),)


def test_shape_in_the_symbol_that_is_not_complete_is_none(digits: Path, tmp_path: Path) -> None:
    edit(digits, "data", attrs={"__shape__": "(0, 1, 8, 8)"})
    with pytest.raises(InputSpecError, match="shape of its input 'data'"):
        convert(request(digits, tmp_path))


def test_shape_in_the_symbol_that_no_tensor_has_is_told(digits: Path, tmp_path: Path) -> None:
    edit(digits, "data", attrs={"__shape__": "(999999999999999999, 1, 8, 8)"})
    with pytest.raises(ModelError, match="impossible tensor"):
        convert(request(digits, tmp_path))


def test_large_weights_lie_beside_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neo.onnx_tools.files.LARGEST_EMBEDDED_BYTES", 1000)
    images, _ = held_out()
    model = convert(request(DIGITS, tmp_path, TensorSpec("data", "float32", images.shape)))
    assert model.onnx.stat().st_size < (tmp_path / "model.onnx.data").stat().st_size
    expected = np.load(FOLDER / "holdout-outputs.npz")["outputs"]
    assert compare({"y": expected}, {"y": answers(model, images)}).max_rel < 1e-5


def test_missing_input_gives_the_flag_with_the_right_channels(tmp_path: Path) -> None:
    with pytest.raises(InputSpecError, match="does not tell the shape of its input 'data'") as caught:
        convert(request(DIGITS, tmp_path))
    assert "--input data=float32[1,1,224,224]" in caught.value.hint


@pytest.mark.parametrize(
    ("spec", "message", "hint"),
    [
        ("image=float32[1,1,8,8]", "'image' is no input", "the inputs are: data"),
        ("conv1_weight=float32[1,1,8,8]", "'conv1_weight' is a parameter", "the inputs are: data"),
        ("softmax_label=float32[1]", "'softmax_label' is no input", "the inputs are: data"),
        ("data=float32[1,8,8,1]", r"'conv1' \(Convolution\) wants 1 channels, found 8", "NCHW"),
        ("data=float32[1,1,28,28]", r"'dense1' \(FullyConnected\) wants 128 features per example, found 1568", "size"),
        ("data=float32[1,1,2,2]", r"'pool2' \(Pooling\): its kernel spans 2", "size"),
        ("data=float32[8,8]", r"'conv1' \(Convolution\) wants 4 dimensions", "batch first"),
        ("data=uint8[1,1,8,8]", r"'conv1' \(Convolution\) would mix uint8 and float32", "float32"),
    ],
)
def test_wrong_input_is_told_with_the_node_that_cannot_take_it(
    spec: str, message: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(InputSpecError, match=message) as caught:
        convert(request(DIGITS, tmp_path, TensorSpec.parse(spec)))
    assert hint in caught.value.hint


def test_missing_input_of_an_embedding_is_asked_for_as_indices(tmp_path: Path) -> None:
    nodes = [
        {"op": "null", "name": "words", "inputs": []},
        {"op": "null", "name": "table", "inputs": []},
        {"op": "Embedding", "name": "embed", "inputs": [[0, 0], [1, 0]]},
    ]
    (tmp_path / "e-symbol.json").write_text(json.dumps({"nodes": nodes, "heads": [[2, 0]]}))
    write_parameters(tmp_path / "e-0000.params", {"table": np.ones((5, 3))})
    with pytest.raises(InputSpecError) as caught:
        convert(request(tmp_path / "e", tmp_path))
    assert "--input words=int32[1," in caught.value.hint
    model = convert(request(tmp_path / "e", tmp_path, TensorSpec("words", "int32", (1, 4))))
    assert model.outputs == (TensorSpec("embed_output", "float32", (1, 4, 3)),)


def test_missing_states_of_a_recurrent_layer_are_asked_for_in_their_shape(tmp_path: Path) -> None:
    attributes = {"mode": "gru", "state_size": "4", "num_layers": "2", "bidirectional": "True"}
    nodes = [
        {"op": "null", "name": "data", "inputs": []},
        {"op": "null", "name": "weights", "inputs": []},
        {"op": "null", "name": "begin", "inputs": []},
        {"op": "RNN", "name": "rnn", "attrs": attributes, "inputs": [[0, 0], [1, 0], [2, 0]]},
    ]
    (tmp_path / "r-symbol.json").write_text(json.dumps({"nodes": nodes, "heads": [[3, 0]]}))
    write_parameters(tmp_path / "r-0000.params", {"weights": np.ones(648)})
    data = TensorSpec("data", "float32", (7, 1, 3))
    with pytest.raises(InputSpecError) as caught:
        convert(request(tmp_path / "r", tmp_path, data))
    assert "--input begin=float32[4,1,4]" in caught.value.hint
    begin = TensorSpec("begin", "float32", (4, 1, 4))
    with pytest.raises(InputSpecError, match="has 648 weights, for 3 features it wants 552"):
        convert(request(tmp_path / "r", tmp_path, data, begin))
    write_parameters(tmp_path / "r-0000.params", {"weights": np.ones(552)})
    model = convert(request(tmp_path / "r", tmp_path, data, begin))
    assert model.outputs == (TensorSpec("rnn_output", "float32", (7, 1, 8)),)


def test_unknown_dimension_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputSpecError, match="no input has a dimension 'M'") as caught:
        convert(request(DIGITS, tmp_path, TensorSpec("data", "float32", ("N", 1, 8, 8)), M=2))
    assert "N" in caught.value.hint


def test_unsupported_operators_are_all_told_at_once(digits: Path, tmp_path: Path) -> None:
    edit(digits, "relu1", op="FancyReLU")
    edit(digits, "relu2", op="FancyReLU")
    edit(digits, "pool2", op="Correlation")
    with pytest.raises(UnsupportedModel) as caught:
        convert(request(digits, tmp_path, ONE_IMAGE))
    assert "FancyReLU (2x, first 'relu1')" in caught.value.message
    assert "Correlation (1x, first 'pool2')" in caught.value.message
    assert caught.value.details == {"operators": ["Correlation", "FancyReLU"]}


def test_operators_of_training_are_told_as_such(digits: Path, tmp_path: Path) -> None:
    edit(digits, "pool2", op="_contrib_MultiBoxTarget")
    with pytest.raises(UnsupportedModel) as caught:
        convert(request(digits, tmp_path, ONE_IMAGE))
    assert caught.value.hint.startswith("_contrib_MultiBoxTarget only makes sense in training")


def write_parameters(path: Path, parameters: dict[str, np.ndarray]) -> None:
    data = struct.pack("<QQQ", 0x112, 0, len(parameters))
    for array in parameters.values():
        data += struct.pack("<IiI", 0xF993FAC9, 0, array.ndim) + struct.pack(f"<{array.ndim}q", *array.shape)
        data += struct.pack("<iii", 1, 0, 0) + array.astype("<f4").tobytes()
    data += struct.pack("<Q", len(parameters))
    for name in parameters:
        data += struct.pack("<Q", len(name.encode())) + name.encode()
    path.write_bytes(data)


def test_missing_parameters_are_named(digits: Path, tmp_path: Path) -> None:
    parameters = dict(read_parameters(FOLDER / "digits-0000.params"))
    del parameters["conv2_weight"], parameters["norm1_gamma"]
    write_parameters(tmp_path / "digits-0000.params", parameters)
    with pytest.raises(ModelError, match="lacks norm1_gamma, conv2_weight") as caught:
        convert(request(digits, tmp_path, ONE_IMAGE))
    assert ".params" in caught.value.hint


def test_parameters_saved_by_block_names_are_recognised(digits: Path, tmp_path: Path) -> None:
    write_parameters(tmp_path / "digits-0000.params", {"features.0.weight": np.ones((16, 1, 3, 3))})
    with pytest.raises(ModelError, match="lacks conv1_weight") as caught:
        convert(request(digits, tmp_path, ONE_IMAGE))
    assert "net.export" in caught.value.hint


def test_a_weight_of_another_shape_is_told(digits: Path, tmp_path: Path) -> None:
    parameters = dict(read_parameters(FOLDER / "digits-0000.params"))
    parameters["norm1_gamma"] = np.ones(7)
    write_parameters(tmp_path / "digits-0000.params", parameters)
    with pytest.raises(InputSpecError, match=r"'norm1' \(BatchNorm\) wants 7 channels, found 16"):
        convert(request(digits, tmp_path, ONE_IMAGE))


@pytest.mark.parametrize(
    ("given_name", "parameters"),
    [
        ("x-symbol.json", "x-0012.params"),
        ("x", "x-0012.params"),
        ("x-0003.params", "x-0003.params"),
        ("x.params", "x.params"),
        ("", "x-0012.params"),
    ],
)
def test_every_way_to_name_a_model_finds_both_files(given_name: str, parameters: str, tmp_path: Path) -> None:
    for name in ("x-symbol.json", "x-0003.params", "x-0012.params", "x.params", "xy-0099.params", "x-12.params"):
        (tmp_path / name).touch()
    files = locate(tmp_path / given_name)
    assert files.symbol.name == "x-symbol.json"
    assert files.parameters.name == parameters


def test_parameters_without_an_epoch_are_found(tmp_path: Path) -> None:
    for name in ("x-symbol.json", "x.params"):
        (tmp_path / name).touch()
    assert locate(tmp_path / "x").parameters.name == "x.params"


@pytest.mark.parametrize(
    ("present", "given_name", "message"),
    [
        ([], "x-symbol.json", "there is no file"),
        ([], "x", "no MXNet model"),
        (["x-symbol.json"], "x-symbol.json", r"there is no x-0000\.params"),
        (["x-0000.params"], "x-0000.params", r"there is no x-symbol\.json"),
        (["x-symbol.json", "y-symbol.json"], "", "holds 2 files"),
    ],
)
def test_a_missing_file_is_named(present: list[str], given_name: str, message: str, tmp_path: Path) -> None:
    for name in present:
        (tmp_path / name).touch()
    with pytest.raises(ModelError, match=message):
        locate(tmp_path / given_name)


def test_an_interpreter_that_is_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEO_MXNET_PYTHON", str(tmp_path / "python"))
    with pytest.raises(MissingDependency, match="cannot be started") as caught:
        convert(request(DIGITS, tmp_path, ONE_IMAGE))
    assert "scripts/mxnet-oracle" in caught.value.hint


def test_an_interpreter_without_mxnet_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setenv("NEO_MXNET_PYTHON", sys.executable)
    with pytest.raises(MissingDependency, match="No module named 'mxnet'"):
        convert(request(DIGITS, tmp_path, ONE_IMAGE))


def test_float16_model_wants_float16_input(digits: Path, tmp_path: Path) -> None:
    parameters = {
        name: array.astype(np.float16) for name, array in read_parameters(FOLDER / "digits-0000.params").items()
    }
    np.savez(tmp_path / "half.npz", **{f"arg:{name}": array for name, array in parameters.items()})
    digits.rename(tmp_path / "half-symbol.json")
    with pytest.raises(InputSpecError, match="would mix float32 and float16"):
        convert(request(tmp_path / "half.npz", tmp_path, ONE_IMAGE))
    model = convert(request(tmp_path / "half.npz", tmp_path, TensorSpec("data", "float16", (1, 1, 8, 8))))
    assert model.outputs[0].dtype == "float16"


def test_operators_of_the_digits_network_are_supported() -> None:
    check_operators(read_symbol(DIGITS))

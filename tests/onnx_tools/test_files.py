from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from neo.errors import ModelError
from neo.onnx_tools import files
from neo.onnx_tools.files import embedded_bytes, external_locations, load, save

WEIGHT = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)


def product() -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64])],
        [numpy_helper.from_array(WEIGHT, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def weight(model: onnx.ModelProto) -> np.ndarray:
    return np.asarray(numpy_helper.to_array(model.graph.initializer[0]))


def test_small_weights_are_in_the_file(tmp_path: Path) -> None:
    save(product(), tmp_path / "m.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    np.testing.assert_array_equal(weight(load(tmp_path / "m.onnx")), WEIGHT)


def test_large_weights_lie_beside_the_file_and_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST_EMBEDDED_BYTES", WEIGHT.nbytes - 1)
    save(product(), tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").stat().st_size < 1000
    assert (tmp_path / "m.onnx.data").stat().st_size >= WEIGHT.nbytes
    np.testing.assert_array_equal(weight(load(tmp_path / "m.onnx")), WEIGHT)


def test_saving_again_replaces_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST_EMBEDDED_BYTES", 0)
    for _ in range(2):
        save(product(), tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx.data").stat().st_size < 2 * WEIGHT.nbytes


def test_weights_that_were_not_loaded_stay_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(files, "LARGEST_EMBEDDED_BYTES", 0)
        save(product(), tmp_path / "m.onnx")
    model = load(tmp_path / "m.onnx", weights=False)
    assert embedded_bytes(model) < 1000
    model.graph.doc_string = "changed"
    save(model, tmp_path / "other.onnx")
    again = load(tmp_path / "other.onnx")
    assert again.graph.doc_string == "changed"
    np.testing.assert_array_equal(weight(again), WEIGHT)


def test_a_damaged_file_is_a_model_error(tmp_path: Path) -> None:
    save(product(), tmp_path / "m.onnx")
    content = (tmp_path / "m.onnx").read_bytes()
    (tmp_path / "m.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match="is damaged"):
        load(tmp_path / "m.onnx")


def test_weights_of_a_file_that_has_the_usual_name_already_are_not_overwritten(tmp_path: Path) -> None:
    """As torch names it, in a model whose other weights are in the graph."""
    model = product()
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.onnx.data", size_threshold=0)
    mixed = load(tmp_path / "m.onnx", weights=False)
    mixed.graph.initializer.append(numpy_helper.from_array(2 * WEIGHT, "v"))
    save(mixed, tmp_path / "m.onnx", most_bytes=0)
    assert external_locations(mixed) == ("m.onnx.data", "_m.onnx.data")
    first, second = load(tmp_path / "m.onnx").graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(first), WEIGHT)
    np.testing.assert_array_equal(numpy_helper.to_array(second), 2 * WEIGHT)

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neo.errors import ModelError, UntrustedModel
from neo.frontends import FRONTENDS
from neo.frontends.recognise import framework_of, recognise, recognise_format, require_format

HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(64)
MXNET_PARAMS = (0x112).to_bytes(8, "little") + bytes(16)
SYMBOL = json.dumps({"nodes": [{"op": "null", "name": "data", "inputs": []}], "arg_nodes": [0], "heads": [[0, 0, 0]]})
# two nodes with a name and an operator, then an empty field "versions"
GRAPHDEF = b"\x0a\x06\x0a\x01a\x12\x01b" * 2 + b"\x22\x00"
# ir_version 8, producer "x", a graph of four bytes, one opset_import
ONNX = b"\x08\x08\x12\x01x\x3a\x04\x12\x02ab\x42\x02\x10\x12"


def zip_of(path: Path, **members: str | bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def a_file(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def torch_zip(path: Path, value: object) -> Path:
    return zip_of(path, **{"archive/data.pkl": pickle.dumps(value, protocol=2), "archive/version": "3"})


@pytest.mark.parametrize("name", ["model.pt2", "model.onnx", "model"])
def test_content_decides_and_the_extension_does_not(tmp_path: Path, name: str) -> None:
    assert recognise_format(a_file(tmp_path / name, HDF5)) == "keras-h5"
    assert recognise_format(a_file(tmp_path / name, ONNX)) == "onnx"
    assert recognise_format(a_file(tmp_path / name, GRAPHDEF)) == "graphdef"
    assert recognise_format(a_file(tmp_path / name, b"\x1c\x00\x00\x00TFL3" + bytes(64))) == "tflite"
    program = {"m/archive_format": "pt2", "m/models/model.json": "{}"}
    assert recognise_format(zip_of(tmp_path / name, **program)) == "pt2"
    script = {"m/constants.pkl": b"", "m/code/__torch__.py": "", "m/data.pkl": b""}
    assert recognise_format(zip_of(tmp_path / name, **script)) == "torchscript"
    keras = {"metadata.json": "{}", "config.json": "{}", "model.weights.h5": b""}
    assert recognise_format(zip_of(tmp_path / name, **keras)) == "keras"


def test_an_mxnet_model_is_known_by_its_symbol_its_parameters_or_their_prefix(tmp_path: Path) -> None:
    symbol = a_file(tmp_path / "net-symbol.json", SYMBOL)
    parameters = a_file(tmp_path / "net-0000.params", MXNET_PARAMS)
    assert [recognise(path) for path in (symbol, parameters, tmp_path / "net")] == ["mxnet"] * 3


def test_a_savedmodel_is_a_folder_with_saved_model_pb(tmp_path: Path) -> None:
    a_file(tmp_path / "m" / "saved_model.pb", b"\x08\x01\x12\x00")
    assert recognise(tmp_path / "m") == "tensorflow"
    with pytest.raises(ModelError, match="one part of a SavedModel") as caught:
        recognise(tmp_path / "m" / "saved_model.pb")
    assert str(tmp_path / "m") in caught.value.hint


def test_every_frontend_has_a_format() -> None:
    # a chain is code and weights, and has no format of its own
    assert {name for name, row in FRONTENDS.items() if row.recognise and row.formats} == set(FRONTENDS) - {"chainer"}


def test_a_missing_file_is_named_with_its_neighbours(tmp_path: Path) -> None:
    a_file(tmp_path / "model-v2.onnx", ONNX)
    with pytest.raises(ModelError, match="there is no file or folder") as caught:
        recognise(tmp_path / "model.onnx")
    assert "model-v2.onnx" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("m.onnx", b"", "is empty"),
        ("m.onnx", "just some words\n", "is a text file, no model; a .onnx file should be a protobuf file"),
        ("m.pt2", "<!DOCTYPE html><html>", "is an HTML page, no model; a .pt2 file should be a zip file"),
        ("m.json", '{"a": [1, 2]}', "is a JSON file, no model; a .json file should be an MXNet symbol file"),
        ("m.onnx", "version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        ("m.bin", b"\x7fELF\x02\x01\x01" + bytes(64), "starts with the bytes 7f 45 4c 46"),
        ("m.onnx", ONNX[:-6], "is a truncated ONNX model"),
        ("m.pb", GRAPHDEF[:-5], "is a truncated TensorFlow graph"),
        ("m.onnx", ONNX[:5], "has no graph: it is truncated"),
        ("m.keras", b"PK\x03\x04" + bytes(64), "is truncated or damaged: it starts as a zip file"),
        ("m.weights.h5", HDF5, "Keras weights without the model"),
        ("m.data-00000-of-00001", b"\x00\x01\x02", "TensorFlow checkpoint"),
        ("checkpoint", "model_checkpoint_path: x", "TensorFlow checkpoint"),
    ],
)
def test_a_file_that_is_no_model_is_told_what_it_is(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    with pytest.raises(ModelError) as caught:
        recognise(a_file(tmp_path / name, content))
    assert type(caught.value) is ModelError
    assert says in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("content", [pickle.dumps({"a": 1}), b"\x78\x9c" + bytes(32)])
def test_joblib_files_compressed_or_not_need_trust(tmp_path: Path, content: bytes) -> None:
    path = a_file(tmp_path / "m.joblib", content)
    with pytest.raises(UntrustedModel, match="pickled Python object") as caught:
        recognise(path)
    assert "skops" in caught.value.hint
    assert "--trust-pickle" in caught.value.hint
    assert recognise(path, trust_pickle=True) == "sklearn"


def test_an_empty_folder_and_a_folder_of_other_things_are_no_savedmodel(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="it is empty"):
        recognise(tmp_path)
    a_file(tmp_path / "weights.bin", b"x")
    with pytest.raises(ModelError, match=r"it holds weights\.bin"):
        recognise(tmp_path)


def test_weights_without_a_program_get_the_lines_that_save_one(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a state_dict") as caught:
        recognise(torch_zip(tmp_path / "m.pt", OrderedDict(a=1, b=OrderedDict())))
    assert type(caught.value) is ModelError
    assert "torch.export.export" in caught.value.hint
    assert "torch.jit.trace" in caught.value.hint


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickled_object_is_named_and_never_unpickled(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "pwned"
    payload = pickle.dumps(_Touches(str(mark)), protocol=protocol)
    for path in (
        zip_of(tmp_path / "m.pt", **{"archive/data.pkl": payload}),
        a_file(tmp_path / "m.pkl", payload),
        a_file(tmp_path / "old.pth", payload),
    ):
        with pytest.raises(UntrustedModel, match=r"posix\.system|os\.system"):
            recognise(path)
    assert not mark.exists()


class _Touches:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.system, (f"touch {self.path}",))


def test_a_zip_of_something_else_lists_its_members(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds word/document\.xml"):
        recognise(zip_of(tmp_path / "m.keras", **{"word/document.xml": "<w/>"}))


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="a device or a pipe"):
        recognise(tmp_path / "m.onnx")


def test_a_frontend_refuses_the_file_of_another_and_names_the_right_one(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is an ONNX model; expected a Keras model") as caught:
        require_format(a_file(tmp_path / "m", ONNX), "keras")
    assert "--framework onnx" in caught.value.hint


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    start=st.sampled_from(
        [b"", b"PK\x03\x04", HDF5[:8], b"\x80\x02", b"\x80\x04\x95", ONNX, GRAPHDEF, MXNET_PARAMS[:8], b"{"]
    ),
    rest=st.binary(max_size=64),
)
def test_no_bytes_bring_anything_but_an_answer_or_a_modelerror(tmp_path: Path, start: bytes, rest: bytes) -> None:
    try:
        assert framework_of(recognise_format(a_file(tmp_path / "m.bin", start + rest))) in FRONTENDS
    except ModelError as error:
        assert error.message  # noqa: PT017


@given(length=st.integers(1, len(ONNX) - 1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_onnx_file_cut_before_the_end_of_its_graph_is_never_taken_for_whole(tmp_path: Path, length: int) -> None:
    path = a_file(tmp_path / "m.onnx", ONNX[:length])
    end_of_graph = len(ONNX) - 4
    if length == end_of_graph:
        assert recognise_format(path) == "onnx"
    else:
        with pytest.raises(ModelError):
            recognise_format(path)

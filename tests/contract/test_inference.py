"""The Open Inference Protocol's frames: every tensor goes through, and nothing malformed does."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neo.contract.fields import ContractError
from neo.contract.inference import check_inputs, decode_request, decode_tensors, encode_tensors, spec_to_v2
from neo.contract.strings import dtype_name
from neo.contract.tensors import DTYPES, TensorSpec
from tests.contract import strategies

tensors = st.dictionaries(strategies.texts, strategies.arrays, max_size=3)


def decode_json(entry: dict[str, Any]) -> np.ndarray:
    arrays, _ = decode_tensors("inputs", json.dumps({"inputs": [{"name": "x", **entry}]}).encode(), None)
    return arrays["x"]


def decode_binary(entry: dict[str, Any], blob: bytes) -> np.ndarray:
    size = {"parameters": {"binary_data_size": len(blob)}}
    header = json.dumps({"inputs": [{"name": "x", **size, **entry}]}).encode()
    return decode_tensors("inputs", header + blob, len(header))[0]["x"]


@given(tensors)
def test_raw_bytes_carry_every_value(arrays: dict[str, np.ndarray]) -> None:
    frame, length = encode_tensors("outputs", arrays, {"id": "7"}, binary=True)
    back, header = decode_tensors("outputs", frame, length)
    assert header["id"] == "7"
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        assert back[name].shape == array.shape
        np.testing.assert_array_equal(back[name], array, strict=True)


@given(tensors)
def test_json_carries_every_value_but_the_sign_of_infinity(arrays: dict[str, np.ndarray]) -> None:
    frame, length = encode_tensors("inputs", arrays, {}, binary=False)
    assert length == len(frame)
    json.loads(frame, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    back, _ = decode_tensors("inputs", frame, None)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        want = np.where(np.isfinite(array), array, np.nan) if array.dtype.kind == "f" else array
        np.testing.assert_array_equal(back[name], want.astype(array.dtype), strict=True)


@pytest.mark.parametrize("array", [np.arange(6.0).reshape(2, 3).T, np.arange(10, dtype=np.int16)[::-2]])
@pytest.mark.parametrize("binary", [True, False])
def test_memory_order_does_not_matter(array: np.ndarray, binary: bool) -> None:
    frame, length = encode_tensors("inputs", {"x": array}, {}, binary=binary)
    np.testing.assert_array_equal(decode_tensors("inputs", frame, length)[0]["x"], array, strict=True)


@pytest.mark.parametrize("array", [np.array([b"a"]), np.array([None]), np.array(["a", 1], object), np.array([1j])])
def test_what_the_protocol_cannot_carry_is_not_sent(array: np.ndarray) -> None:
    with pytest.raises(ContractError, match="which the protocol does not carry"):
        encode_tensors("outputs", {"y": array}, {}, binary=True)


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "want"),
    [
        ("FP32", [2, 2], [[1, 2], [3, 4]], [[1, 2], [3, 4]]),
        ("FP32", [2, 2], [1, 2, 3, 4], [[1, 2], [3, 4]]),
        ("FP32", [], [5], 5),
        ("FP32", [], 5, 5),
        ("FP32", [0], [], []),
        ("FP32", [2, 0], [[], []], [[], []]),
        ("FP32", [0, 1 << 39], [], np.zeros((0, 1 << 39))),
        ("FP32", [2], [None, 1.5], [np.nan, 1.5]),
        ("FP64", [1], [10**30], [1e30]),
        ("UINT64", [1], [2**64 - 1], [2**64 - 1]),
        ("UINT64", [2], [2**63 + 1, 0], [2**63 + 1, 0]),
        ("UINT64", [2, 1], [[2**63 + 1], [1.0]], [[2**63 + 1], [1]]),
        ("INT64", [2], [2**53 + 1, 1.0], [2**53 + 1, 1]),
        ("INT64", [2], [-(2**63), 2**63 - 1], [-(2**63), 2**63 - 1]),
        ("INT8", [2], [-128, 127], [-128, 127]),
        ("INT32", [1], [3.0], [3]),
        ("BOOL", [3], [True, False, 1], [True, False, True]),
    ],
)
def test_numbers_flat_or_nested_are_read(datatype: str, shape: list[int], data: Any, want: Any) -> None:
    array = decode_json({"datatype": datatype, "shape": shape, "data": data})
    np.testing.assert_array_equal(array, np.asarray(want, dtype=array.dtype), strict=True)


@pytest.mark.parametrize(
    ("datatype", "shape", "data"),
    [
        ("FP32", [2], [1]),
        ("FP32", [1], [1, 2]),
        ("FP32", [2, 3], [[1, 2], [3, 4], [5, 6]]),
        ("FP32", [2], [[1], 2]),
        ("FP32", [1], ["1"]),
        ("FP32", [2], [None, "1"]),
        ("FP32", [1], [{}]),
        ("FP32", [1], None),
        ("FP32", [1], "1"),
        ("FP32", [1], [1e300]),
        ("FP32", [1], [10**400]),
        ("FP16", [1], [70000]),
        ("INT64", [1], [2**63]),
        ("INT64", [2], [2**63, -1]),
        ("UINT64", [2], [2**64, 0]),
        ("UINT64", [2], [2**63, -1]),
        ("INT64", [2], [1.5, 2**53 + 1]),
        ("INT64", [1], [None]),
        ("INT32", [1], [1.5]),
        ("INT32", [1], [1e300]),
        ("INT32", [1], [float("nan")]),
        ("UINT8", [1], [256]),
        ("UINT8", [1], [-1]),
        ("UINT64", [1], [-1]),
        ("BOOL", [1], [2]),
        ("STRING", [1], ["a"]),
        ("FP32", [-1], [1]),
        ("FP32", [True], [1]),
        ("FP32", [1.0], [1]),
        ("FP32", [1] * 33, [1]),
        ("FP32", [1 << 40], []),
        ("FP32", [0, 1 << 39, 1 << 39], []),
        ("FP32", None, [1]),
        (None, [1], [1]),
        (["FP32"], [1], [1]),
    ],
)
def test_numbers_that_do_not_fit_are_refused(datatype: Any, shape: Any, data: Any) -> None:
    with pytest.raises(ContractError):
        decode_json({"datatype": datatype, "shape": shape, "data": data})


@pytest.mark.parametrize(
    ("entry", "blob"),
    [
        ({"shape": [3]}, bytes(8)),
        ({"shape": [1]}, bytes(8)),
        ({"shape": [2], "parameters": {"binary_data_size": 4}}, bytes(8)),
        ({"shape": [2], "parameters": {"binary_data_size": 12}}, bytes(8)),
        ({"shape": [2], "parameters": {"binary_data_size": -8}}, bytes(8)),
        ({"shape": [2], "parameters": {"binary_data_size": 8.0}}, bytes(8)),
        ({"shape": [2], "parameters": {"binary_data_size": True}}, bytes(8)),
        ({"shape": [2], "parameters": {"binary_data_size": 1 << 70}}, bytes(8)),
        ({"shape": [2], "parameters": []}, bytes(8)),
        ({"shape": [0, 1 << 39, 1 << 39]}, b""),
        ({"shape": [1 << 30, 1 << 30]}, b""),
        ({"shape": [2], "datatype": "BOOL"}, b"\1\2"),
    ],
)
def test_raw_sizes_that_lie_are_refused(entry: dict[str, Any], blob: bytes) -> None:
    with pytest.raises(ContractError):
        decode_binary({"datatype": "FP32", **entry}, blob)


def test_one_byte_too_many_or_too_few_is_refused() -> None:
    frame, length = encode_tensors("inputs", {"x": np.arange(4.0), "y": np.arange(3)}, {}, binary=True)
    for bad in (frame + b"\0", frame[:-1]):
        with pytest.raises(ContractError):
            decode_tensors("inputs", bad, length)
    for wrong in (-1, 0, length - 1, length + 1, len(frame) + 1, None):
        with pytest.raises(ContractError):
            decode_tensors("inputs", frame, wrong)


def test_a_tensor_that_comes_twice_is_refused() -> None:
    entry = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}
    with pytest.raises(ContractError, match="comes twice"):
        decode_tensors("inputs", json.dumps({"inputs": [entry, entry]}).encode(), None)


def test_data_nested_deeper_than_any_tensor_is_refused() -> None:
    deep = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":' + b"[" * 5000 + b"1" + b"]" * 5000 + b"}]}"
    with pytest.raises(ContractError):
        decode_tensors("inputs", deep, None)


@given(st.binary(max_size=200), st.none() | st.integers(-5, 210))
def test_arbitrary_bytes_are_refused(body: bytes, length: int | None) -> None:
    with pytest.raises(ContractError):
        decode_request(body, length)


@given(tensors, st.data())
def test_a_frame_with_a_changed_byte_is_refused_or_read(arrays: dict[str, np.ndarray], data: st.DataObject) -> None:
    frame, length = encode_tensors("inputs", arrays, {}, binary=data.draw(st.booleans()))
    spoiled = bytearray(frame)
    spoiled[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode_request(bytes(spoiled), length)
    except ContractError:
        return


@given(strategies.json_objects)
def test_a_request_with_any_fields_is_refused_or_read(fields: dict[str, Any]) -> None:
    for key in ("parameters", "outputs", "id"):
        body = json.dumps({**fields, "inputs": [], key: next(iter(fields.values()), None)}).encode()
        try:
            decode_request(body, None)
        except ContractError:
            continue


@pytest.mark.parametrize(
    ("fields", "outputs", "binary"),
    [
        ({}, (), False),
        ({"parameters": {"binary_data_output": True}}, (), True),
        ({"outputs": [{"name": "y"}]}, ("y",), False),
        ({"outputs": [{"name": "y", "parameters": {"binary_data": True}}, {"name": "z"}]}, ("y", "z"), True),
    ],
)
def test_what_the_client_wants_back(fields: dict[str, Any], outputs: tuple[str, ...], binary: bool) -> None:
    request = decode_request(json.dumps({"id": "42", "inputs": [], **fields}).encode(), None)
    assert (request.id, request.outputs, request.binary) == ("42", outputs, binary)


@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_metadata_names_every_dtype_and_shows_a_free_dimension(dtype: str) -> None:
    shown = spec_to_v2(TensorSpec("x", dtype, ("N", 3)))
    assert shown["shape"] == [-1, 3]
    array = decode_json({"datatype": shown["datatype"], "shape": [1], "data": ["1" if dtype == "string" else 1]})
    assert dtype_name(array) == dtype


IMAGE = TensorSpec("x", "float32", (1, 3, 4, 5))


def refusal(specs: list[TensorSpec], arrays: dict[str, Any]) -> ContractError:
    with pytest.raises(ContractError) as raised:
        check_inputs(specs, arrays)
    return raised.value


def test_inputs_that_fit_give_the_free_dimensions() -> None:
    specs = [TensorSpec("x", "float32", ("N", 3)), TensorSpec("y", "int64", ("N", "M")), TensorSpec("z", "bool", ())]
    arrays = {"y": np.zeros((2, 7), np.int64), "x": np.zeros((2, 3), np.float32), "z": np.array(True)}
    assert check_inputs(specs, arrays) == {"N": 2, "M": 7}


def test_a_free_dimension_has_one_size() -> None:
    specs = [TensorSpec("x", "float32", ("N",)), TensorSpec("y", "float32", ("N",))]
    error = refusal(specs, {"x": np.zeros(2, np.float32), "y": np.zeros(3, np.float32)})
    assert error.message == "input 'y' wants float32 [N], got float32 [3]"


def test_a_missing_and_an_unknown_input_are_named() -> None:
    assert refusal([IMAGE], {}).hint == "add 'x'"
    assert refusal([IMAGE], {}).message == "the model takes the inputs 'x'; got none"
    extra = refusal([IMAGE], {"x": np.zeros((1, 3, 4, 5), np.float32), "q": np.zeros(1)})
    assert extra.hint == "leave out 'q'"


def test_images_with_channels_last_are_recognised_and_the_hint_mends_them() -> None:
    nhwc = np.zeros((1, 4, 5, 3), np.float32)
    error = refusal([IMAGE], {"x": nhwc})
    assert error.message == "input 'x' wants float32 [1, 3, 4, 5], got float32 [1, 4, 5, 3]"
    assert error.hint == "is it NHWC? transpose it with x.transpose(0, 3, 1, 2)"
    assert check_inputs([IMAGE], {"x": nhwc.transpose(0, 3, 1, 2)}) == {}


def test_images_with_channels_first_are_recognised_and_the_hint_mends_them() -> None:
    spec = TensorSpec("x", "float32", (1, 4, 5, 3))
    nchw = np.zeros((1, 3, 4, 5), np.float32)
    assert refusal([spec], {"x": nchw}).hint == "is it NCHW? transpose it with x.transpose(0, 2, 3, 1)"
    assert check_inputs([spec], {"x": nchw.transpose(0, 2, 3, 1)}) == {}


@pytest.mark.parametrize("dtype", ["float64", "uint8", ">f4"])
def test_another_dtype_is_refused_with_the_conversion(dtype: str) -> None:
    error = refusal([IMAGE], {"x": np.zeros((1, 3, 4, 5), dtype)})
    assert error.hint == "convert it with x.astype('float32')"


@pytest.mark.parametrize("value", [[1.0], 1.0, None, "x"])
def test_a_list_is_no_array(value: object) -> None:
    error = refusal([IMAGE], {"x": value})
    assert "not a numpy array" in error.message
    assert error.hint == "give numpy.asarray(..., dtype='float32')"

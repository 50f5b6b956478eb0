"""Tensors of strings: through frames, JSON and files of plain arrays, and no more of them than a device can hold."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neo.contract import strings
from neo.contract.fields import ContractError
from neo.contract.inference import check_inputs, decode_tensors, encode_tensors, spec_to_v2
from neo.contract.parity import Parity, compare
from neo.contract.strings import as_dtype, dtype_name, from_plain, pack_strings, to_plain, unpack_strings
from neo.contract.tensors import TensorSpec
from tests.contract import strategies

WORDS = TensorSpec("words", "string", ("N", 2))
HOPELESS = Parity(np.inf, np.inf)


def texts(*values: Any) -> np.ndarray:
    return np.array(values, object)


def decode_json(shape: Any, data: Any) -> np.ndarray:
    entry = {"name": "x", "datatype": "BYTES", "shape": shape, "data": data}
    return decode_tensors("inputs", json.dumps({"inputs": [entry]}).encode(), None)[0]["x"]


def decode_binary(shape: list[int], blob: bytes, size: int | None = None) -> np.ndarray:
    parameters = {"binary_data_size": len(blob) if size is None else size}
    entry = {"name": "x", "datatype": "BYTES", "shape": shape, "parameters": parameters}
    header = json.dumps({"inputs": [entry]}).encode()
    return decode_tensors("inputs", header + blob, len(header))[0]["x"]


@pytest.mark.parametrize("binary", [True, False])
@given(array=strategies.string_arrays)
def test_every_string_goes_through(binary: bool, array: np.ndarray) -> None:
    frame, length = encode_tensors("inputs", {"words": array, "n": np.arange(3)}, {}, binary=binary)
    back, _ = decode_tensors("inputs", frame, length if binary else None)
    assert back["words"].dtype == object
    np.testing.assert_array_equal(back["words"], array, strict=True)
    np.testing.assert_array_equal(back["n"], np.arange(3))


def test_the_binary_form_is_the_protocols() -> None:
    """4 bytes of length, little-endian, then the bytes: as Triton's clients write it."""
    frame, length = encode_tensors("inputs", {"x": texts("a", "", "é")}, {}, binary=True)
    assert frame[length:] == b"\1\0\0\0a\0\0\0\0\2\0\0\0\xc3\xa9"
    assert spec_to_v2(WORDS) == {"name": "words", "datatype": "BYTES", "shape": [-1, 2]}


@pytest.mark.parametrize("array", [np.array(["a", "bc"]), np.array(["a", "bc"], np.dtypes.StringDType())])
def test_numpys_own_text_is_text(array: np.ndarray) -> None:
    frame, _ = encode_tensors("inputs", {"x": array}, {}, binary=False)
    assert decode_tensors("inputs", frame, None)[0]["x"].tolist() == ["a", "bc"]
    assert as_dtype(array, "string").dtype == object


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        ([2], ["a"]),
        ([2], ["a", 1]),
        ([1], [None]),
        ([1], [["a"], ["b"]]),
        ([2, 2], [["a", "b"], ["c"]]),
        ([2, 1], [["a", "b"]]),
        ([1], None),
        ([1], {"a": 1}),
        ([1 << 30], ["a"]),
    ],
)
def test_data_that_are_not_so_many_strings_are_refused(shape: list[int], data: Any) -> None:
    with pytest.raises(ContractError):
        decode_json(shape, data)


@pytest.mark.parametrize(
    "blob", [b"", b"\1\0\0\0", b"\1\0\0", b"\xff\xff\xff\xffab", b"\1\0\0\0\xff", b"\1\0\0\0ab", b"\1\0\0\0a\0"]
)
def test_bytes_that_are_no_string_are_refused(blob: bytes) -> None:
    with pytest.raises(ContractError):
        decode_binary([1], blob)


def test_more_bytes_than_there_are_and_more_strings_than_fit_are_refused() -> None:
    with pytest.raises(ContractError, match="does not have 99 bytes"):
        decode_binary([1], b"\1\0\0\0a", size=99)
    with pytest.raises(ContractError, match="cannot hold 1073741824 strings"):
        decode_binary([1 << 30], b"\1\0\0\0a")


@pytest.mark.parametrize(
    ("name", "most", "says"),
    [
        ("MAX_STRING_BYTES", 3, "a string of 4 bytes; at most 3"),
        ("MAX_FRAME_STRING_BYTES", 7, "more than 7 bytes"),
        ("MAX_FRAME_STRINGS", 3, "more than 3 strings"),
    ],
)
def test_a_frame_holds_so_many_strings_and_no_more(
    monkeypatch: pytest.MonkeyPatch, name: str, most: int, says: str
) -> None:
    """The limits count over all tensors of a frame, either way and in either form."""
    tensors = {"x": texts("abcd", "ef"), "y": texts("gh", "")}
    frames = {binary: encode_tensors("inputs", tensors, {}, binary=binary) for binary in (True, False)}
    monkeypatch.setattr(strings, name, most)
    for binary, (frame, length) in frames.items():
        with pytest.raises(ContractError, match=says):
            decode_tensors("inputs", frame, length if binary else None)
        with pytest.raises(ContractError, match=says):
            encode_tensors("inputs", tensors, {}, binary=binary)


def test_half_a_character_is_not_sent() -> None:
    for binary in (True, False):
        with pytest.raises(ContractError, match="half a character"):
            encode_tensors("inputs", {"x": texts("\ud800")}, {}, binary=binary)


def test_an_input_of_strings_is_held_against_the_model() -> None:
    assert check_inputs([WORDS], {"words": np.array([["a", "b"]] * 3)}) == {"N": 3}
    with pytest.raises(ContractError, match=r"wants string \[N, 2\], got float64 \[1, 2\]"):
        check_inputs([WORDS], {"words": np.zeros((1, 2))})
    with pytest.raises(ContractError, match=r"got object \[1, 2\]") as refused:
        check_inputs([WORDS], {"words": np.array([["a", 1]], object)})
    assert "no str" in refused.value.hint
    with pytest.raises(ContractError, match=r"wants float32 \[1\], got string \[1\]"):
        check_inputs([TensorSpec("x", "float32", (1,))], {"x": texts("1")})


def test_a_string_is_the_same_or_infinitely_far() -> None:
    want = {"y": texts("a", "b")}
    assert compare(want, {"y": np.array(["a", "b"])}) == Parity(0.0, 0.0)
    assert compare(want, {"y": texts("a", "B")}) == HOPELESS
    assert compare(want, {"y": texts("a")}) == HOPELESS
    assert compare(want, {"y": np.zeros(2)}) == HOPELESS


@given(st.dictionaries(st.sampled_from(["0/input/x", "0/input/utf8/x", "y"]), strategies.string_arrays, max_size=3))
def test_a_file_of_plain_arrays_holds_strings(arrays: dict[str, np.ndarray]) -> None:
    plain = to_plain({**arrays, "n": np.arange(2)})
    assert all(array.dtype.kind in "iu" for array in plain.values())
    back = from_plain(plain)
    assert back.keys() == {*arrays, "n"}
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array, strict=True)


@pytest.mark.parametrize(
    "plain",
    [
        {"utf8/x": np.zeros(4, np.uint8)},
        {"utf8/x": np.zeros(4, np.uint8), "shape/x": np.array([2])},
        {"utf8/x": np.zeros(4, np.uint8), "shape/x": np.array([-1, -1])},
        {"utf8/x": np.zeros(4, np.int64), "shape/x": np.array([1])},
        {"utf8/x": np.zeros(4, np.uint8), "shape/x": np.array([1 << 62, 1 << 62])},
    ],
)
def test_plain_arrays_that_lie_are_refused(plain: dict[str, np.ndarray]) -> None:
    with pytest.raises((ContractError, KeyError)):
        from_plain(plain)


@given(st.binary(max_size=30), st.integers(0, 4))
def test_any_bytes_are_strings_or_refused(data: bytes, count: int) -> None:
    try:
        found = unpack_strings(data, count, "x")
    except ContractError:
        return
    assert pack_strings(found, "x") == data
    assert dtype_name(found) == "string" or count == 0

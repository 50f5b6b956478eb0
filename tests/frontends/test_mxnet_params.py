"""Parameter files: round trips through a writer of the format, and damage of every kind."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from neo.errors import ModelError, UnsupportedModel
from neo.frontends.mxnet.params import parse_parameters, read_parameters

TYPE_CODES = {
    "float32": 0,
    "float64": 1,
    "float16": 2,
    "uint8": 3,
    "int32": 4,
    "int8": 5,
    "int64": 6,
    "bool": 7,
    "int16": 8,
    "uint16": 9,
    "uint32": 10,
    "uint64": 11,
}
V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
UNVERSIONED = 0

arrays = npst.arrays(
    dtype=st.sampled_from(sorted(TYPE_CODES)),
    shape=npst.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4),
)
names = st.text(st.characters(codec="utf-8", exclude_characters=":"), min_size=1, max_size=12)


def record(array: NDArray[Any], version: int = V2) -> bytes:
    shape_code = "I" if version == UNVERSIONED else "q"
    shape = struct.pack(f"<I{array.ndim}{shape_code}", array.ndim, *array.shape)
    head = {
        V1: struct.pack("<I", V1),
        V2: struct.pack("<Ii", V2, 0),
        V3: struct.pack("<Ii", V3, 0),
        UNVERSIONED: b"",
    }[version]
    return head + shape + struct.pack("<iii", 1, 0, TYPE_CODES[array.dtype.name]) + array.tobytes()


def list_file(records: list[bytes], stored_names: list[str]) -> bytes:
    data = struct.pack("<QQQ", 0x112, 0, len(records)) + b"".join(records) + struct.pack("<Q", len(stored_names))
    for name in stored_names:
        encoded = name.encode()
        data += struct.pack("<Q", len(encoded)) + encoded
    return data


def npz_file(parameters: dict[str, NDArray[Any]]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **parameters)
    return stream.getvalue()


def assert_same(read: dict[str, NDArray[Any]], written: dict[str, NDArray[Any]]) -> None:
    assert read.keys() == written.keys()
    for name, array in written.items():
        assert read[name].dtype == array.dtype
        assert read[name].shape == array.shape
        assert read[name].tobytes() == array.tobytes()


@given(st.dictionaries(names, arrays, max_size=4), st.sampled_from([UNVERSIONED, V1, V2, V3]))
def test_every_version_of_the_format_round_trips(parameters: dict[str, NDArray[Any]], version: int) -> None:
    data = list_file([record(array, version) for array in parameters.values()], list(parameters))
    assert_same(parse_parameters(data), parameters)


@given(st.dictionaries(st.from_regex(r"[a-z_0-9]{1,9}", fullmatch=True), arrays, min_size=1, max_size=4))
def test_npz_round_trips(parameters: dict[str, NDArray[Any]]) -> None:
    prefixed = {f"arg:{name}": array for name, array in parameters.items()}
    assert_same(parse_parameters(npz_file(prefixed)), parameters)


def test_npz_in_fortran_order_round_trips() -> None:
    array = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    np.testing.assert_array_equal(parse_parameters(npz_file({"w": array}))["w"], array)


@pytest.mark.parametrize("stored", ["arg:w", "aux:w", "w"])
def test_prefixes_are_no_part_of_the_name(stored: str) -> None:
    assert list(parse_parameters(list_file([record(np.ones(1, np.float32))], [stored]))) == ["w"]


def test_one_name_as_argument_and_state_is_refused() -> None:
    with pytest.raises(ModelError, match="'w' twice"):
        parse_parameters(list_file([record(np.ones(1, np.float32))] * 2, ["arg:w", "aux:w"]))


def test_an_array_that_was_never_initialised_is_no_parameter() -> None:
    never = struct.pack("<IiI", V2, 0, 0)
    data = list_file([never, record(np.ones(2, np.float32))], ["a", "b"])
    assert list(parse_parameters(data)) == ["b"]


def test_a_number_without_dimensions_is_a_parameter_since_version_3() -> None:
    data = list_file([record(np.array(2.5, np.float32), V3)], ["scale"])
    assert parse_parameters(data)["scale"].shape == ()


def test_sparse_storage_is_refused_by_name() -> None:
    sparse = struct.pack("<Ii", V2, 1) + bytes(64)
    with pytest.raises(UnsupportedModel, match="row_sparse"):
        parse_parameters(list_file([sparse], ["w"]))


def test_bfloat16_is_refused_by_name() -> None:
    data = struct.pack("<IiIq", V2, 0, 1, 2) + struct.pack("<iii", 1, 0, 12) + bytes(4)
    with pytest.raises(UnsupportedModel, match="bfloat16"):
        parse_parameters(list_file([data], ["w"]))


def test_something_else_is_told_apart_from_a_damaged_file() -> None:
    with pytest.raises(ModelError, match="is no MXNet parameter file"):
        parse_parameters(b"\x80\x02}q\x00this is a pickle")


def test_arrays_without_names_are_refused() -> None:
    with pytest.raises(ModelError, match="1 arrays and 0 names"):
        parse_parameters(list_file([record(np.ones(1, np.float32))], []))


def test_a_compressed_npz_is_refused_with_a_way_out() -> None:
    stream = io.BytesIO()
    np.savez_compressed(stream, w=np.zeros(100))
    with pytest.raises(UnsupportedModel, match="compressed") as caught:
        parse_parameters(stream.getvalue())
    assert "numpy.savez" in caught.value.hint


def test_an_npz_of_objects_is_never_unpickled() -> None:
    with pytest.raises(ModelError, match="no array of numbers"):
        parse_parameters(npz_file({"w": np.array([{}], dtype=object)}))


def read_or_refuse(data: bytes, undamaged: bytes | None = None, flipped_bits: int = 0) -> None:
    """Whatever else is raised fails the test. undamaged: what data was before some of its bits were flipped; arrays
    that are still of the same name, shape and type differ in no more bits than that.
    """
    try:
        read = parse_parameters(data)
    except ModelError as error:
        assert error.message  # noqa: PT017 - not raising is fine too
        return
    assert sum(array.nbytes for array in read.values()) <= len(data)
    if undamaged is None:
        return
    differing = 0
    for name, want in parse_parameters(undamaged).items():
        got = read.get(name)
        if got is not None and (got.shape, got.dtype) == (want.shape, want.dtype):
            pairs = zip(got.tobytes(), want.tobytes(), strict=True)
            differing += sum((one ^ other).bit_count() for one, other in pairs)
    assert differing <= flipped_bits


SAMPLE = list_file(
    [record(np.arange(6, dtype=np.float32).reshape(2, 3)), record(np.ones(3, np.int64), V1), record(np.ones(2), V3)],
    ["arg:weight", "aux:mean", "b"],
)
NPZ_SAMPLE = npz_file({"arg:weight": np.ones((2, 3), np.float32), "bias": np.zeros(3)})


@pytest.mark.parametrize("length", range(len(SAMPLE)))
def test_every_truncation_is_an_error(length: int) -> None:
    with pytest.raises(ModelError):
        parse_parameters(SAMPLE[:length])


@pytest.mark.parametrize("sample", [SAMPLE, NPZ_SAMPLE], ids=["list", "npz"])
@given(data=st.data())
def test_flipped_bits_give_a_result_or_a_model_error(sample: bytes, data: st.DataObject) -> None:
    damaged = bytearray(sample)
    bits = data.draw(st.lists(st.integers(0, len(sample) * 8 - 1), min_size=1, max_size=8))
    for bit in bits:
        damaged[bit // 8] ^= 1 << bit % 8
    # the members of an .npz have checksums
    read_or_refuse(bytes(damaged), sample, flipped_bits=0 if sample is NPZ_SAMPLE else len(bits))


@given(st.integers(0, len(NPZ_SAMPLE)), st.binary(max_size=64))
def test_a_damaged_npz_gives_a_result_or_a_model_error(cut: int, tail: bytes) -> None:
    read_or_refuse(NPZ_SAMPLE[:cut] + tail, NPZ_SAMPLE)


@given(st.binary(max_size=200))
def test_random_bytes_after_the_magic_number_give_a_result_or_a_model_error(tail: bytes) -> None:
    read_or_refuse(struct.pack("<QQ", 0x112, 0) + tail)


@pytest.mark.parametrize(
    "claim",
    [
        struct.pack("<Q", 1 << 60),
        struct.pack("<QIiIqq", 1, V2, 0, 2, 1 << 31, 1 << 31) + struct.pack("<iii", 1, 0, 0) + bytes(64),
        struct.pack("<QIiIqq", 1, V2, 0, 2, 0, 1 << 62) + struct.pack("<iii", 1, 0, 0) + bytes(64),
        struct.pack("<QIiIqq", 1, V2, 0, 2, -1, -4) + struct.pack("<iii", 1, 0, 0) + bytes(64),
        struct.pack("<QI", 1, 1 << 30) + bytes(64),
        struct.pack("<QQQ", 0, 1, 1 << 62),
    ],
    ids=["records", "elements", "no elements of huge dimensions", "negative dimensions", "rank", "name"],
)
def test_what_a_file_claims_but_lacks_is_not_allocated(claim: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ModelError):
            parse_parameters(struct.pack("<QQ", 0x112, 0) + claim)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def npz_with_header(header: str, elements: bytes = bytes(24)) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("w.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + elements)
    return stream.getvalue()


def header_of(dtype: str = "<f4", fortran: str = "False", shape: str = "(2, 3)") -> str:
    return f"{{'descr': '{dtype}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n"


def test_an_npz_header_is_read() -> None:
    assert parse_parameters(npz_with_header(header_of()))["w"].shape == (2, 3)


@pytest.mark.parametrize(
    "header",
    [
        header_of(shape="(2, 9)"),
        header_of(shape=f"({'9' * 18}, {'9' * 18})"),
        header_of(shape=f"(0, {'9' * 18}, {'9' * 18})"),
        header_of(shape=f"({'1, ' * 200})"),
        header_of(shape="(-2, -3)"),
        header_of(shape=f"({'-' * 5000}2, 3)"),
        header_of(shape=f"{'(' * 3000}2, 3"),
        header_of(dtype="|O8"),
        header_of(dtype=">f4"),
        header_of(dtype="<f1"),
        header_of(dtype="<b8"),
        header_of(fortran="Maybe"),
        "",
        "'",
    ],
)
def test_an_npz_header_that_claims_what_is_not_there_is_not_believed(header: str) -> None:
    with pytest.raises(ModelError, match=r"w\.npy is"):
        parse_parameters(npz_with_header(header))


def test_an_empty_and_a_missing_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "x-0000.params").touch()
    with pytest.raises(ModelError, match=r"x-0000\.params is empty"):
        read_parameters(tmp_path / "x-0000.params")
    with pytest.raises(ModelError, match=r"y\.params cannot be read"):
        read_parameters(tmp_path / "y.params")

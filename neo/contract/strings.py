"""Tensors of strings: in memory, in files, in bytes.

In memory they are object arrays of ``str``, which is what ONNX Runtime takes and gives. Numpy's own arrays of text
(``<U8``, StringDType) are taken too, where a person hands them over. Files hold no objects: there, and in the binary
extension of the Open Inference Protocol, every string is its length in bytes, 4 bytes little-endian, and its UTF-8.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo.contract.fields import ContractError

Array = NDArray[Any]

STRING = "string"
# a request is one frame: what comes from outside must not fill a device's memory, in which a short string takes
# twenty times the bytes that it has on the wire
MAX_STRING_BYTES = 1 << 20
MAX_FRAME_STRINGS = 1 << 20
MAX_FRAME_STRING_BYTES = 16 << 20

_LENGTH = struct.Struct("<I")
# before a tensor's name, in a file of plain arrays
_CONTENT, _SHAPE = "utf8/", "shape/"


def numpy_dtype(dtype: str) -> np.dtype[Any]:
    """The contract's name of a dtype -> numpy's dtype: an object array for strings."""
    return np.dtype(object if dtype == STRING else dtype)


def dtype_name(array: Array) -> str:
    """Numpy's array -> the contract's name of its dtype; "object" for objects that are not all strings."""
    if array.dtype.kind in "UT" or (array.dtype.kind == "O" and all(isinstance(item, str) for item in array.flat)):
        return STRING
    return str(array.dtype)


def as_dtype(array: Array, dtype: str) -> Array:
    """The array in the dtype's form in memory; not copied where it has it. Raises ValueError for no strings."""
    if dtype == STRING and dtype_name(array) != STRING:
        raise ValueError(f"{array.dtype} is no text")
    return array.astype(numpy_dtype(dtype), copy=False)


class StringBudget:
    """How many strings, and bytes of them, one frame may still hold. Raises ContractError when it is overdrawn."""

    def __init__(self) -> None:
        self._strings = MAX_FRAME_STRINGS
        self._bytes = MAX_FRAME_STRING_BYTES

    def reserve(self, count: int, what: str) -> None:
        """For a tensor of so many strings."""
        self._strings -= count
        if self._strings < 0:
            raise ContractError(f"{what}: more than {MAX_FRAME_STRINGS} strings", hint="send fewer at a time")

    def spend(self, size: int, what: str) -> None:
        """For one string of so many bytes."""
        self._bytes -= size
        if size > MAX_STRING_BYTES:
            raise ContractError(f"{what} has a string of {size} bytes; at most {MAX_STRING_BYTES} are passed on")
        if self._bytes < 0:
            raise ContractError(
                f"{what}: more than {MAX_FRAME_STRING_BYTES} bytes of strings", hint="send fewer at a time"
            )


def pack_strings(array: Array, what: str, budget: StringBudget | None = None) -> bytes:
    """Raises ContractError for half characters, which are no UTF-8."""
    try:
        encoded = [text.encode() for text in array.ravel().tolist()]
    except UnicodeEncodeError as error:
        raise ContractError(f"{what} has a string with half a character: {error}") from error
    if budget is not None:
        budget.reserve(len(encoded), what)
        for text in encoded:
            budget.spend(len(text), what)
    return b"".join(part for text in encoded for part in (_LENGTH.pack(len(text)), text))


def unpack_strings(data: bytes | memoryview, count: int, what: str, budget: StringBudget | None = None) -> Array:
    """-> object (count,). Raises ContractError if data is not count strings to its last byte."""
    # nothing is made before it is clear that so many can be in data
    if count * _LENGTH.size > len(data):
        raise ContractError(f"{what}: {len(data)} bytes cannot hold {count} strings")
    if budget is not None:
        budget.reserve(count, what)
    strings = np.empty(count, object)
    offset = 0
    for index in range(count):
        start = offset + _LENGTH.size
        size = _LENGTH.unpack_from(data, offset)[0] if start <= len(data) else len(data)
        offset = start + size
        if offset > len(data):
            raise ContractError(f"{what} ends within string {index}")
        if budget is not None:
            budget.spend(size, what)
        try:
            strings[index] = str(data[start:offset], "utf-8")
        except UnicodeDecodeError as error:
            raise ContractError(f"{what}: string {index} is not UTF-8") from error
    if offset != len(data):
        raise ContractError(f"{what}: {len(data) - offset} bytes follow the last string")
    return strings


def list_strings(data: Any, shape: tuple[int, ...], what: str, budget: StringBudget) -> Array:
    """From JSON, nested as shape or flat. -> object (shape). Raises ContractError."""
    count = math.prod(shape)
    budget.reserve(count, what)
    raw: Array = np.asarray(data, dtype=object)
    if not all(isinstance(item, str) for item in raw.flat):
        raise ContractError(f"{what}: the data is ragged, or not all strings")
    if raw.size != count or (raw.ndim > 1 and raw.shape != shape):
        found = f"{raw.size} strings" if raw.ndim <= 1 else f"strings nested as {list(raw.shape)}"
        raise ContractError(f"{what} with shape {list(shape)} needs {count} strings, got {found}")
    for text in raw.flat:
        budget.spend(len(text.encode()), what)
    return raw.reshape(shape)


def to_plain(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Arrays without objects, for an .npz: a tensor of strings becomes its bytes and its shape.

    No name may begin with ``utf8/`` or ``shape/``.
    """
    plain: dict[str, Array] = {}
    for name, array in arrays.items():
        if dtype_name(array) == STRING:
            plain[_CONTENT + name] = np.frombuffer(pack_strings(array, name), np.uint8)
            plain[_SHAPE + name] = np.array(array.shape, np.int64)
        else:
            plain[name] = array
    return plain


def from_plain(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """What ``to_plain`` was given. Raises ContractError or KeyError for what it did not write."""
    found: dict[str, Array] = {}
    for key, array in arrays.items():
        if key.startswith(_CONTENT):
            name = key.removeprefix(_CONTENT)
            shape = [int(size) for size in arrays[_SHAPE + name].ravel()]
            if array.dtype != np.uint8 or any(size < 0 for size in shape):
                raise ContractError(f"{name!r} holds no strings")
            count = int(np.prod(shape, dtype=object))
            found[name] = unpack_strings(array.tobytes(), count, name).reshape(shape)
        elif not key.startswith(_SHAPE):
            found[key] = array
    return found

"""Parameters of an MXNet model, read without MXNet.

Two layouts. The NDArray list file (magic 0x112) that MXNet 0.x and 1.x write is, little-endian throughout::

    uint64 0x112, uint64 reserved, uint64 count, count records, uint64 count, count times (uint64 length, name)

where a record starts with a uint32 that tells its version: 0xF993FAC8 (a shape of int64 follows), 0xF993FAC9 and
0xF993FACA (an int32 storage type precedes the shape; the latter allows shapes without elements), or, before there
were versions, the number of dimensions itself (uint32 sizes follow). Then come the device (two int32), the element
type (int32) and the elements. Source: MXNet 1.9.1, src/ndarray/ndarray.cc, NDArray::Save and NDArray::Load.

The other layout is the .npz that MXNet 2.0 writes, also under the name .params.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo.errors import ModelError, UnsupportedModel
from neo.frontends.mxnet.npz import ZIP_MAGIC, parse_npz

Buffer = bytes | mmap.mmap
Parameters = dict[str, NDArray[Any]]

LIST_MAGIC = 0x112
V1_MAGIC, V2_MAGIC, V3_MAGIC = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
DENSE_STORAGE = 0
STORAGE_NAMES = {1: "row_sparse", 2: "csr"}
ELEMENT_TYPES: dict[int, np.dtype[Any]] = {
    0: np.dtype("<f4"),
    1: np.dtype("<f8"),
    2: np.dtype("<f2"),
    3: np.dtype("u1"),
    4: np.dtype("<i4"),
    5: np.dtype("i1"),
    6: np.dtype("<i8"),
    7: np.dtype("?"),
    8: np.dtype("<i2"),
    9: np.dtype("<u2"),
    10: np.dtype("<u4"),
    11: np.dtype("<u8"),
}
BFLOAT16 = 12
MAX_RANK = 32
SMALLEST_RECORD_BYTES = 4
SMALLEST_NAME_BYTES = 8


def read_parameters(path: Path) -> Parameters:
    """Parameter name (without ``arg:``/``aux:``) to a read-only array over the mapped file.

    Raises ModelError if the file is damaged or holds something else, UnsupportedModel for sparse or bfloat16 arrays.
    """
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError as error:  # an empty file cannot be mapped
        raise ModelError(
            f"{path.name} is empty", hint="export the model again: net.export() or save_checkpoint()"
        ) from error
    except OSError as error:
        raise ModelError(f"{path.name} cannot be read: {error.strerror}") from error
    return parse_parameters(mapped, what=path.name)


def parse_parameters(data: Buffer, *, what: str = "the parameter file") -> Parameters:
    """As ``read_parameters``, from bytes. The arrays are views of ``data`` where its layout allows."""
    named = parse_npz(data, what) if data[:4] == ZIP_MAGIC else _parse_list_file(data, what)
    parameters: Parameters = {}
    for stored_name, array in named.items():
        name = stored_name.removeprefix("arg:").removeprefix("aux:")
        if name in parameters:
            raise ModelError(f"{what} holds the parameter {name!r} twice")
        parameters[name] = array
    return parameters


def _parse_list_file(data: Buffer, what: str) -> Parameters:
    cursor = _Cursor(data, what)
    if len(data) < 16 or cursor.unsigned(8) != LIST_MAGIC:
        raise ModelError(
            f"{what} is no MXNet parameter file: it does not start with the magic number 0x112",
            hint="give the .params file that net.export() or save_checkpoint() wrote beside the -symbol.json",
        )
    cursor.unsigned(8)
    arrays = [_read_record(cursor) for _ in range(cursor.count(SMALLEST_RECORD_BYTES, "arrays"))]
    names = [cursor.text() for _ in range(cursor.count(SMALLEST_NAME_BYTES, "names"))]
    if len(names) != len(arrays):
        raise ModelError(
            f"{what} holds {len(arrays)} arrays and {len(names)} names",
            hint="save the parameters by name, as net.export() and save_checkpoint() do",
        )
    if len(set(names)) != len(names):
        raise ModelError(f"{what} uses one name for several arrays")
    # an array that was never initialised is stored without elements: it is no parameter
    return {name: array for name, array in zip(names, arrays, strict=True) if array is not None}


def _read_record(cursor: _Cursor) -> NDArray[Any] | None:
    version = cursor.unsigned(4)
    if version in {V2_MAGIC, V3_MAGIC}:
        storage = cursor.signed(4)
        if storage != DENSE_STORAGE:
            raise UnsupportedModel(
                f"{cursor.what} holds an array stored as {STORAGE_NAMES.get(storage, storage)}; only dense is read",
                hint='convert it in MXNet with array.tostype("default") and save again',
            )
        shape = cursor.shape(int_bytes=8)
        absent = shape is None or (version == V2_MAGIC and not shape)
    elif version == V1_MAGIC:
        shape = cursor.shape(int_bytes=8)
        absent = not shape
    else:
        shape = cursor.dims(version, int_bytes=4)
        absent = not shape
    if shape is None or absent:
        return None
    cursor.take(8)  # the device that the array lived on
    return cursor.elements(_element_type(cursor), shape)


def _element_type(cursor: _Cursor) -> np.dtype[Any]:
    code = cursor.signed(4)
    if code == BFLOAT16:
        raise UnsupportedModel(
            f"{cursor.what} holds bfloat16 arrays, which are not read",
            hint="cast the model to float32 in MXNet and export it again",
        )
    if code not in ELEMENT_TYPES:
        raise ModelError(f"{cursor.what} is damaged: element type {code} at byte {cursor.offset - 4}")
    return ELEMENT_TYPES[code]


@dataclass(slots=True)
class _Cursor:
    """Reads forward through ``data``; every read is checked against the bytes that are left."""

    data: Buffer
    what: str
    offset: int = 0

    def take(self, size: int) -> int:
        """Step over ``size`` bytes; the offset where they start."""
        start = self.offset
        if size > len(self.data) - start:
            raise ModelError(
                f"{self.what} is truncated or damaged: {size} bytes wanted at byte {start}, "
                f"{len(self.data) - start} are left",
                hint="copy the file again and compare its size with the original",
            )
        self.offset = start + size
        return start

    def unsigned(self, size: int) -> int:
        start = self.take(size)
        return int.from_bytes(self.data[start : start + size], "little")

    def signed(self, size: int) -> int:
        start = self.take(size)
        return int.from_bytes(self.data[start : start + size], "little", signed=True)

    def count(self, item_bytes: int, kind: str) -> int:
        count = self.unsigned(8)
        if count * item_bytes > len(self.data) - self.offset:
            raise ModelError(f"{self.what} is truncated or damaged: it claims {count} {kind}")
        return count

    def text(self) -> str:
        size = self.unsigned(8)
        start = self.take(size)
        try:
            return self.data[start : start + size].decode()
        except UnicodeDecodeError as error:
            raise ModelError(f"{self.what} is damaged: a name at byte {start} is not UTF-8") from error

    def shape(self, *, int_bytes: int) -> tuple[int, ...] | None:
        """None if even the number of dimensions is unknown."""
        rank = self.signed(4)
        return None if rank == -1 else self.dims(rank, int_bytes=int_bytes)

    def dims(self, rank: int, *, int_bytes: int) -> tuple[int, ...]:
        if not 0 <= rank <= MAX_RANK:
            raise ModelError(f"{self.what} is damaged: an array of {rank} dimensions ends at byte {self.offset}")
        start = self.take(rank * int_bytes)
        code = "q" if int_bytes == 8 else "I"
        return struct.unpack_from(f"<{rank}{code}", self.data, start)

    def elements(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        if any(dim < 0 for dim in shape):
            raise ModelError(f"{self.what} is damaged: an array of shape {shape}")
        count = math.prod(shape)
        start = self.take(count * dtype.itemsize)
        try:
            array: NDArray[Any] = np.frombuffer(self.data, dtype, count, start).reshape(shape)
        except ValueError as error:  # no elements at all, but dimensions beyond what numpy can multiply
            raise ModelError(f"{self.what} is damaged: an array of shape {shape}") from error
        return array


def names_look_like_blocks(parameters: Parameters) -> bool:
    """Whether the names are those of gluon's save_parameters ("0.weight", "features.1.gamma")."""
    return any(_is_block_path(name) for name in parameters)


def _is_block_path(name: str) -> bool:
    parts = name.split(".")
    return len(parts) > 1 and parts[-1].isidentifier() and all(parts)

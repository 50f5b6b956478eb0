"""An .npz of parameters, read without trusting it: nothing is allocated or evaluated that the file does not contain.

numpy's own reader allocates what a header claims, and hands the header to Python's parser.
"""

from __future__ import annotations

import io
import math
import mmap
import re
import struct
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo.errors import ModelError, UnsupportedModel

ZIP_MAGIC = b"PK\x03\x04"
NPY_MAGIC = b"\x93NUMPY"
_HEADER = re.compile(
    rb"\{'descr': ?'(?P<dtype>[<|][biuf][1248])', ?'fortran_order': ?(?P<fortran>True|False), ?"
    rb"'shape': ?\((?P<shape>(?:[0-9]{1,18}, ?)*(?:[0-9]{1,18})?)\),? ?\}\s*"
)
# what zipfile raises over damaged bytes
_DAMAGE = (
    zipfile.BadZipFile,
    struct.error,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)


def parse_npz(data: bytes | mmap.mmap, what: str) -> dict[str, NDArray[Any]]:
    """Entry name (without .npy) to array. Raises ModelError for anything but numeric arrays that are wholly there."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            contents = {entry.filename: _content(archive, entry, what) for entry in archive.infolist()}
    except _DAMAGE as error:
        raise ModelError(f"{what} is a damaged .npz: {error}") from error
    return {name.removesuffix(".npy"): _parse_npy(content, f"{what}: {name}") for name, content in contents.items()}


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, what: str) -> bytes:
    if entry.compress_type != zipfile.ZIP_STORED:
        raise UnsupportedModel(
            f"{what} is a compressed .npz; parameters are read uncompressed",
            hint="save it again with numpy.savez, not savez_compressed",
        )
    return archive.read(entry)


def _parse_npy(content: bytes, where: str) -> NDArray[Any]:
    """Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html"""
    # the length of the header takes two bytes in version 1, four in later ones
    start = 10 if content[6:7] == b"\x01" else 12
    size = int.from_bytes(content[8:start], "little")
    header = _HEADER.fullmatch(content[start : start + size])
    if not content.startswith(NPY_MAGIC) or header is None:
        raise ModelError(f"{where} is no array of numbers in little-endian order")
    try:
        dtype = np.dtype(header["dtype"].decode())
        shape = tuple(int(dim) for dim in header["shape"].split(b",") if dim.strip())
        if math.prod(shape) * dtype.itemsize != len(content) - start - size:
            raise ModelError(f"{where} is damaged: its header says {dtype} {shape}, its size does not")
        flat: NDArray[Any] = np.frombuffer(content, dtype, math.prod(shape), start + size)
        return flat.reshape(shape, order="F" if header["fortran"] == b"True" else "C")
    except (TypeError, ValueError) as error:  # an element type, a rank or a size that numpy does not know
        raise ModelError(f"{where} is damaged: {error}") from error

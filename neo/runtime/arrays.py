"""Arrays that a person has in a file: an .npz with one by name, or an .npy with one."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from neo.errors import InputSpecError

Array = NDArray[Any]

# what numpy and zipfile between them raise for damaged files, arrays of Python objects among them
_DAMAGED = (
    ValueError,
    KeyError,
    EOFError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


@contextmanager
def opened_arrays(path: Path, hint: str) -> Iterator[NpzFile | Array]:
    """-> the archive, whose arrays are read by name with ``read_array``; of an .npy its array. hint: how such a file is
    made.

    Raises InputSpecError for a missing or unreadable file, and one that numpy did not write; never unpickles.
    """
    try:
        # opened here: numpy leaves a damaged file open
        with path.open("rb") as file:
            try:
                content = np.load(file, allow_pickle=False)
            except _DAMAGED as error:
                # numpy's own words advise to unpickle it
                raise InputSpecError(f"{path} is no .npz file of plain arrays, or a damaged one", hint=hint) from error
            yield content
    except FileNotFoundError as error:
        raise InputSpecError(f"there is no file {path}", hint=hint) from error
    except OSError as error:
        raise InputSpecError(f"cannot read {path}: {error.strerror or error}", hint=hint) from error


def read_array(path: Path, archive: NpzFile, name: str, hint: str) -> Array:
    """One array of an open archive. Raises InputSpecError."""
    try:
        return np.asarray(archive[name])
    except (OSError, *_DAMAGED) as error:
        raise InputSpecError(f"{path}: {name!r} is no plain array, or damaged", hint=hint) from error


def read_arrays(path: Path, hint: str) -> dict[str, Array] | Array:
    """All arrays of an .npz by name, or the one of an .npy. Raises InputSpecError."""
    with opened_arrays(path, hint) as content:
        if not isinstance(content, NpzFile):
            return content
        return {name: read_array(path, content, name, hint) for name in content.files}

"""Inputs for comparing two versions of a model: random ones, or the user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from neo.contract.strings import STRING, as_dtype, dtype_name, numpy_dtype
from neo.contract.tensors import Dim, TensorSpec
from neo.errors import InputSpecError
from neo.frontends.base import Arrays, Sample

# small enough to index any vocabulary or table of a real model, large enough to reach different entries
MAX_INTEGER = 9
# for strings whose vocabulary is unknown; the second attempt uses digits, which a Cast can read
WORDS = ("red", "green", "blue", "small", "large", "Yes", "no", "two words", "1", "")
DIGITS = ("0", "1")
_HOW_TO_WRITE = "write it with numpy.savez(path, x=..., output=...)"


def random_inputs(
    specs: tuple[TensorSpec, ...],
    count: int,
    seed: int,
    max_integer: int = MAX_INTEGER,
    words: Mapping[str, tuple[str, ...]] | None = None,
) -> tuple[Arrays, ...]:
    """``count`` inputs that depend only on the arguments.

    Floats are standard normal, bool is a fair coin, uint8 (usually pixels) 0 to 255, int8 (quantised data) -128 to 127.
    Other integers are mostly indices: 0 to ``max_integer``, but 0 or 1 in inputs with "mask" in their names. Strings
    are chosen from ``words`` by input, else from a few short ones, or digits if ``max_integer`` is below 9. Dimensions
    that are still dynamic get size 1.
    """
    return tuple(
        _one_input(specs, np.random.default_rng([seed, number]), max_integer, words or {}) for number in range(count)
    )


def drawn_by(one: Callable[[np.random.Generator], Arrays]) -> Callable[[int, int, int], tuple[Arrays, ...]]:
    """A ``SourceModel.draw`` for a model that knows which integers it takes. one: draws one set of inputs."""

    def draw(count: int, seed: int, _max_integer: int) -> tuple[Arrays, ...]:
        return tuple(one(np.random.default_rng([seed, number])) for number in range(count))

    return draw


def _one_input(
    specs: tuple[TensorSpec, ...], rng: np.random.Generator, max_integer: int, words: Mapping[str, tuple[str, ...]]
) -> Arrays:
    usual = WORDS if max_integer >= MAX_INTEGER else DIGITS
    return {
        spec.name: np.asarray(
            _random_strings(spec, rng, words.get(spec.name) or usual)
            if spec.dtype == STRING
            else _random_array(spec, rng, max_integer),
            dtype=numpy_dtype(spec.dtype),
        )
        for spec in specs
    }


def _random_strings(spec: TensorSpec, rng: np.random.Generator, words: tuple[str, ...]) -> NDArray[np.object_]:
    return np.array(words, object)[rng.integers(0, len(words), _sizes(spec))]


def _random_array(spec: TensorSpec, rng: np.random.Generator, max_integer: int) -> NDArray[np.generic]:
    shape = _sizes(spec)
    if spec.dtype.startswith("float"):
        return np.asarray(rng.standard_normal(shape))
    if spec.dtype == "bool":
        return np.asarray(rng.integers(0, 1, shape, endpoint=True))
    # models add a huge negative number times (1 - mask): a mask of 5 would drown everything else
    usual = (0, 1 if "mask" in spec.name.lower() else max_integer)
    least, largest = {"uint8": (0, 255), "int8": (-128, 127)}.get(spec.dtype, usual)
    return np.asarray(rng.integers(least, largest, shape, endpoint=True))


def _sizes(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(dim if isinstance(dim, int) else 1 for dim in spec.shape)


def read_golden(path: Path, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> Sample:
    """The user's own sample: an .npz with one array for each input and output, by name.

    Raises InputSpecError if the file cannot be read, an array is missing, or its dtype or shape does not fit.
    """
    arrays = _read_npz(path)
    missing = [spec.name for spec in (*inputs, *outputs) if spec.name not in arrays]
    if missing:
        raise InputSpecError(
            f"the golden file {path} lacks {', '.join(missing)}; it holds {', '.join(arrays) or 'nothing'}",
            hint=f"the model has the inputs {'  '.join(map(str, inputs))} and the outputs"
            f" {'  '.join(map(str, outputs))}",
        )
    for spec in inputs:
        _check_array(path, spec, arrays[spec.name])
    for spec in outputs:
        if (dtype_name(arrays[spec.name]) == STRING) != (spec.dtype == STRING):
            raise InputSpecError(f"{path}: {spec.name!r} is {arrays[spec.name].dtype}, the model answers {spec}")
    return Sample(
        {spec.name: as_dtype(arrays[spec.name], spec.dtype) for spec in inputs},
        {spec.name: as_dtype(arrays[spec.name], spec.dtype) for spec in outputs},
    )


def _read_npz(path: Path) -> Arrays:
    try:
        # opened here, because numpy does not close a damaged file
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if isinstance(content, NpzFile):
                return {name: np.asarray(content[name]) for name in content.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise InputSpecError(f"{path} is no .npz file of arrays: {error}", hint=_HOW_TO_WRITE) from error
    raise InputSpecError(f"{path} is no .npz file of arrays: it is a single array", hint=_HOW_TO_WRITE)


def _check_array(path: Path, spec: TensorSpec, array: NDArray[np.generic]) -> None:
    fits = array.ndim == len(spec.shape) and all(map(_same_size, spec.shape, array.shape))
    if dtype_name(array) != spec.dtype or not fits:
        raise InputSpecError(
            f"{path}: {spec.name!r} is {array.dtype}{list(array.shape)}, the model wants {spec}",
            hint=f"store it with .astype({'str' if spec.dtype == STRING else repr(spec.dtype)}) and this shape",
        )


def _same_size(dim: Dim, size: int) -> bool:
    return isinstance(dim, str) or dim == size

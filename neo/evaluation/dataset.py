"""Data to evaluate on: an .npz with one array for each input of the model, sample by sample, and the true answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from neo.contract.strings import STRING, as_dtype, dtype_name
from neo.contract.tensors import TensorSpec
from neo.errors import InputSpecError
from neo.runtime.arrays import opened_arrays, read_array

Array = NDArray[Any]
Arrays = dict[str, Array]

LABEL_NAMES = ("labels", "y")
DYNAMIC_BATCH = 32
_HOW_TO_WRITE = "write it with numpy.savez('data.npz', x=images, labels=classes)"


@dataclass(frozen=True, slots=True)
class Dataset:
    """Samples with their true answers."""

    #: by name, samples along the first axis
    inputs: Arrays
    #: the true answers, one for each sample: numbers or words
    labels: Array
    #: number of samples that the model takes in one run
    batch: int

    @property
    def count(self) -> int:
        return len(self.labels)

    def batches(self) -> Iterator[tuple[Arrays, int]]:
        """-> (inputs of one run, how many samples of it count): the last run is filled up with its last sample."""
        for start in range(0, self.count, self.batch):
            real = min(self.batch, self.count - start)
            rows = np.minimum(np.arange(start, start + self.batch), self.count - 1)
            yield {name: np.ascontiguousarray(array[rows]) for name, array in self.inputs.items()}, real


def read_dataset(path: Path, specs: tuple[TensorSpec, ...], labels: str | None) -> Dataset:
    """specs: the model's inputs. labels: the array with the true answers; None for ``labels`` or ``y``.

    Arrays that neither the model nor the labels need are left alone. Raises InputSpecError for a file that is no .npz
    of plain arrays, and for arrays that are missing or have another shape, dtype or number than the model wants.
    """
    with opened_arrays(path, _HOW_TO_WRITE) as archive:
        if not isinstance(archive, NpzFile):
            raise InputSpecError(f"{path} holds one array without a name", hint=_HOW_TO_WRITE)
        names = tuple(archive.files)
        missing = [spec.name for spec in specs if spec.name not in names]
        if missing:
            raise InputSpecError(
                f"{path} lacks {', '.join(map(repr, missing))}; it holds {', '.join(names) or 'nothing'}",
                hint=f"the model takes {'  '.join(map(str, specs))}: one array by each name, samples first",
            )
        answers = read_array(path, archive, _labels_name(path, names, specs, labels), _HOW_TO_WRITE)
        inputs = {
            spec.name: _fitting(path, spec, read_array(path, archive, spec.name, _HOW_TO_WRITE)) for spec in specs
        }
    if answers.ndim == 0 or answers.dtype.kind not in "biufU" or not len(answers):
        raise InputSpecError(f"the labels in {path} are {answers.dtype}{list(answers.shape)}", hint=_HOW_TO_WRITE)
    for name, array in inputs.items():
        if len(array) != len(answers):
            raise InputSpecError(f"{path}: {name!r} has {len(array)} samples, and there are {len(answers)} labels")
    return Dataset(inputs, answers, _batch(specs))


def _labels_name(path: Path, names: tuple[str, ...], specs: tuple[TensorSpec, ...], wanted: str | None) -> str:
    inputs = {spec.name for spec in specs}
    for name in (wanted,) if wanted is not None else LABEL_NAMES:
        if name in names and (wanted is not None or name not in inputs):
            return name
    what = f"no array {wanted!r}" if wanted is not None else "neither an array 'labels' nor 'y'"
    raise InputSpecError(f"{path} has {what}; it holds {', '.join(names) or 'nothing'}", hint="name it with --labels")


def _fitting(path: Path, spec: TensorSpec, array: Array) -> Array:
    """The array as the model's dtype; the shape of one sample must be the model's without its batch."""
    if not spec.shape:
        raise InputSpecError(f"input {spec} has no batch dimension to lay samples along")
    wanted = spec.shape[1:]
    fits = array.ndim == len(spec.shape) and all(
        isinstance(dim, str) or dim == size for dim, size in zip(wanted, array.shape[1:], strict=True)
    )
    if not fits:
        want = f"[samples, {', '.join(map(str, wanted))}]"
        raise InputSpecError(
            f"{path}: {spec.name!r} is {array.dtype}{list(array.shape)}; the model wants {want}",
            hint=_hint(spec, array),
        )
    if STRING in (spec.dtype, dtype_name(array)):
        if dtype_name(array) != spec.dtype:
            raise InputSpecError(
                f"{path}: {spec.name!r} is {array.dtype}; the model wants {spec.dtype}",
                hint=f"store it with .astype({'str' if spec.dtype == STRING else repr(spec.dtype)})",
            )
        return as_dtype(array, STRING)
    if not np.can_cast(array.dtype, spec.dtype, "same_kind"):
        raise InputSpecError(
            f"{path}: {spec.name!r} is {array.dtype}, which does not become the model's {spec.dtype} without loss",
            hint=f"store it with .astype({spec.dtype!r})",
        )
    return array.astype(spec.dtype, copy=False)


def _hint(spec: TensorSpec, array: Array) -> str:
    if array.ndim == len(spec.shape) == 4:
        _, *wanted = spec.shape
        _, *found = array.shape
        if found == [*wanted[1:], wanted[0]]:
            return f"store {spec.name}.transpose(0, 3, 1, 2)"
        if found == [wanted[2], *wanted[:2]]:
            return f"store {spec.name}.transpose(0, 2, 3, 1)"
    return _HOW_TO_WRITE


def _batch(specs: tuple[TensorSpec, ...]) -> int:
    sizes = {spec.shape[0] for spec in specs}
    fixed = sorted(size for size in sizes if isinstance(size, int))
    if len(fixed) > 1:
        raise InputSpecError(
            f"the inputs {'  '.join(map(str, specs))} take different numbers of samples at a time",
            hint="evaluate a model whose first dimension is the batch",
        )
    return fixed[0] if fixed else DYNAMIC_BATCH

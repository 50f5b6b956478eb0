"""Golden samples: inputs with the source framework's outputs, and the test that a device can still give them.

golden-inputs.npz holds ``<index>/input/<name>`` and golden-outputs.npz ``<index>/output/<name>``; strings as
``neo.contract.strings.to_plain`` writes them, under ``utf8/<index>/input/<name>`` and ``shape/<index>/input/<name>``.
The inputs are a file of their own because they depend on the model's interface alone: the next version of a model has
the same ones, byte for byte. Bundles of version 1 have both in golden.npz.
"""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo.contract.fields import ContractError
from neo.contract.manifest import GOLDEN_INPUTS_PATH, GOLDEN_OUTPUTS_PATH, GOLDEN_PATH
from neo.contract.parity import Parity, compare
from neo.contract.strings import from_plain, to_plain
from neo.errors import BundleError
from neo.runtime.load import Predictor

Arrays = dict[str, NDArray[Any]]
KINDS = ("input", "output")
MAX_SAMPLES = 64
MAX_BYTES = 1 << 30


def write_golden(folder: Path, samples: Sequence[tuple[Arrays, Arrays]]) -> None:
    """(inputs, outputs) of every sample, as files of folder. The same samples make the same bytes."""
    for position, (path, kind) in enumerate(zip((GOLDEN_INPUTS_PATH, GOLDEN_OUTPUTS_PATH), KINDS, strict=True)):
        arrays = {
            f"{index}/{kind}/{name}": array
            for index, sample in enumerate(samples)
            for name, array in sample[position].items()
        }
        with (folder / path).open("wb") as file:
            np.savez_compressed(file, **to_plain(arrays))  # type: ignore[arg-type]  # the stub takes one array only


def special_path(folder: Path) -> Path:
    """Beside the folder of a candidate, not in it: what is there travels with the bundle."""
    return folder.with_name(f"{folder.name}.special.npz")


def write_special(folder: Path, samples: Sequence[tuple[str, Arrays, Arrays]]) -> None:
    """(kind, inputs, outputs) of samples that choose between engines: NaN, zeros and the like. Nothing if none."""
    if not samples:
        return
    arrays = {
        f"{n} {kind_of_sample}/{kind}/{name}": array
        for n, (kind_of_sample, *tensors) in enumerate(samples)
        for kind, arrays in zip(KINDS, tensors, strict=True)
        for name, array in arrays.items()
    }
    np.savez(special_path(folder), **to_plain(arrays))  # type: ignore[arg-type]  # as above


def read_special(folder: Path) -> tuple[tuple[str, Arrays, Arrays], ...]:
    """What ``write_special`` wrote; () if it wrote nothing. The file is our own, of this run."""
    if not special_path(folder).is_file():
        return ()
    samples = _read_samples([special_path(folder)])
    return tuple((label.partition(" ")[2], *sample) for label, sample in samples.items())


def read_golden(folder: Path) -> tuple[tuple[Arrays, Arrays], ...]:
    """-> (inputs, outputs) of every sample. Raises BundleError."""
    paths = [folder / GOLDEN_INPUTS_PATH, folder / GOLDEN_OUTPUTS_PATH]
    if not any(path.exists() for path in paths):
        paths = [folder / GOLDEN_PATH]  # of version 1
    try:
        unpacked = sum(_unpacked_bytes(path) for path in paths)
        if unpacked > MAX_BYTES:
            raise BundleError(
                f"the golden samples in {folder} unpack to {unpacked} bytes; at most {MAX_BYTES} are read"
            )
        samples = {int(label): sample for label, sample in _read_samples(paths).items()}
    # numpy and zipfile between them raise all of these for damaged files
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        MemoryError,
        NotImplementedError,
        RuntimeError,
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        lzma.LZMAError,
        ContractError,
    ) as error:
        raise BundleError(f"the golden samples in {folder} cannot be read: {error}") from error
    if not 0 < len(samples) <= MAX_SAMPLES:
        raise BundleError(f"{folder} holds {len(samples)} golden samples; 1 to {MAX_SAMPLES} are expected")
    if not all(outputs for _, outputs in samples.values()):
        raise BundleError(f"{folder} holds a golden sample without outputs, which would prove nothing")
    return tuple(samples[index] for index in sorted(samples))


def _unpacked_bytes(path: Path) -> int:
    with zipfile.ZipFile(path) as archive:
        return sum(entry.file_size for entry in archive.infolist())


def _read_samples(paths: Sequence[Path]) -> dict[str, tuple[Arrays, Arrays]]:
    """By label."""
    samples: dict[str, tuple[Arrays, Arrays]] = {}
    for path in paths:
        with np.load(path, allow_pickle=False) as archive:
            arrays = from_plain(archive)
        for key, array in arrays.items():
            label, kind, name = key.split("/", 2)
            samples.setdefault(label, ({}, {}))[KINDS.index(kind)][name] = array
    return samples


def self_test(predictor: Predictor, folder: Path) -> Parity:
    """Run every golden sample. Raises BundleError if an answer is further off than the manifest allows."""
    tolerance = predictor.manifest.tolerance
    names = {spec.name for spec in predictor.outputs}
    worst = Parity(0.0, 0.0)
    for inputs, outputs in read_golden(folder):
        if outputs.keys() != names:
            found, expected = ", ".join(sorted(outputs)), ", ".join(sorted(names))
            raise BundleError(f"a golden sample has the outputs {found}; the model has {expected}")
        parity = compare(outputs, predictor.predict(inputs))
        if not tolerance.accepts(parity):
            raise BundleError(
                "the model does not answer here as the source framework did: the largest difference is "
                f"{parity.max_abs:.3g} ({parity.max_rel:.3g} of the largest output), allowed are "
                f"{tolerance.max_abs:.3g} or {tolerance.max_rel:.3g}",
                hint="compile it again for this kind of device, or with the other engine (--engine)",
                details={"parity": parity.to_json(), "tolerance": tolerance.to_json()},
            )
        worst = worst.worst(parity)
    return worst

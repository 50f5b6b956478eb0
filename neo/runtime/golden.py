"""Golden samples: inputs with the source framework's outputs, and the test that a device can still give them.

golden.npz holds ``<index>/input/<name>`` and ``<index>/output/<name>``; strings as ``neo.contract.strings.to_plain``
writes them, under ``utf8/<index>/input/<name>`` and ``shape/<index>/input/<name>``.
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
from neo.contract.manifest import GOLDEN_PATH
from neo.contract.parity import Parity, compare
from neo.contract.strings import from_plain, to_plain
from neo.errors import BundleError
from neo.runtime.load import Predictor

Arrays = dict[str, NDArray[Any]]
MAX_SAMPLES = 64
MAX_BYTES = 1 << 30


def write_golden(path: Path, samples: Sequence[tuple[Arrays, Arrays]]) -> None:
    arrays = _labelled([(str(index), *sample) for index, sample in enumerate(samples)])
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # the stub takes one array only


def special_path(folder: Path) -> Path:
    """Beside the folder of a candidate, not in it: what is there travels with the bundle."""
    return folder.with_name(f"{folder.name}.special.npz")


def write_special(folder: Path, samples: Sequence[tuple[str, Arrays, Arrays]]) -> None:
    """(kind, inputs, outputs) of samples that choose between engines: NaN, zeros and the like. Nothing if none."""
    if samples:
        arrays = _labelled([(f"{n} {kind}", inputs, outputs) for n, (kind, inputs, outputs) in enumerate(samples)])
        np.savez(special_path(folder), **arrays)  # type: ignore[arg-type]  # as above


def read_special(folder: Path) -> tuple[tuple[str, Arrays, Arrays], ...]:
    """What ``write_special`` wrote; () if it wrote nothing. The file is our own, of this run."""
    if not special_path(folder).is_file():
        return ()
    samples = _read_samples(special_path(folder))
    return tuple((label.partition(" ")[2], *sample) for label, sample in samples.items())


def _labelled(samples: Sequence[tuple[str, Arrays, Arrays]]) -> Arrays:
    return to_plain(
        {
            f"{label}/{kind}/{name}": array
            for label, inputs, outputs in samples
            for kind, tensors in (("input", inputs), ("output", outputs))
            for name, array in tensors.items()
        }
    )


def read_golden(folder: Path) -> tuple[tuple[Arrays, Arrays], ...]:
    """-> (inputs, outputs) of every sample. Raises BundleError."""
    path = folder / GOLDEN_PATH
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > MAX_BYTES:
            raise BundleError(f"{path} unpacks to {unpacked} bytes; at most {MAX_BYTES} are read")
        samples = {int(label): sample for label, sample in _read_samples(path).items()}
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
        raise BundleError(f"{path} holds {len(samples)} samples; 1 to {MAX_SAMPLES} are expected")
    if not all(outputs for _, outputs in samples.values()):
        raise BundleError(f"{path} holds a sample without outputs, which would prove nothing")
    return tuple(samples[index] for index in sorted(samples))


def _read_samples(path: Path) -> dict[str, tuple[Arrays, Arrays]]:
    samples: dict[str, tuple[Arrays, Arrays]] = {}
    with np.load(path, allow_pickle=False) as archive:
        arrays = from_plain(archive)
    for key, array in arrays.items():
        label, kind, name = key.split("/", 2)
        sample = samples.setdefault(label, ({}, {}))
        sample[("input", "output").index(kind)][name] = array
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

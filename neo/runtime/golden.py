"""Golden samples: inputs with the source framework's outputs, and the test that a device can still give them.

golden.npz holds ``<index>/input/<name>`` and ``<index>/output/<name>``.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo.contract.manifest import GOLDEN_PATH
from neo.contract.parity import Parity, compare
from neo.errors import BundleError
from neo.runtime.load import Predictor

Arrays = dict[str, NDArray[Any]]
MAX_SAMPLES = 64


def write_golden(path: Path, samples: Sequence[tuple[Arrays, Arrays]]) -> None:
    arrays = {
        f"{index}/{kind}/{name}": array
        for index, sample in enumerate(samples)
        for kind, tensors in zip(("input", "output"), sample, strict=True)
        for name, array in tensors.items()
    }
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # the stub takes one array only


def read_golden(folder: Path) -> tuple[tuple[Arrays, Arrays], ...]:
    """-> (inputs, outputs) of every sample. Raises BundleError."""
    samples: dict[int, tuple[Arrays, Arrays]] = {}
    try:
        with np.load(folder / GOLDEN_PATH, allow_pickle=False) as archive:
            for key in archive.files:
                index, kind, name = key.split("/", 2)
                sample = samples.setdefault(int(index), ({}, {}))
                sample[("input", "output").index(kind)][name] = archive[key]
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise BundleError(f"the golden samples in {folder} cannot be read: {error}") from error
    if not 0 < len(samples) <= MAX_SAMPLES:
        raise BundleError(f"{folder / GOLDEN_PATH} holds {len(samples)} samples; 1 to {MAX_SAMPLES} are expected")
    return tuple(samples[index] for index in sorted(samples))


def self_test(predictor: Predictor, folder: Path) -> Parity:
    """Run every golden sample. Raises BundleError if an answer is further off than the manifest allows."""
    tolerance = predictor.manifest.tolerance
    worst = Parity(0.0, 0.0)
    for inputs, outputs in read_golden(folder):
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

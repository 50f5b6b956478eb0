"""The images: scikit-learn's digits, 1,797 of 8x8, split once and for all frameworks alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo.errors import MissingDependency

HELD_OUT = 360
CLASSES = 10


@dataclass(frozen=True, slots=True)
class Digits:
    """Images of digits."""

    #: float32 (N, 1, 8, 8) in [0, 1]
    images: NDArray[Any]
    #: int64 (N,)
    labels: NDArray[Any]


def load_digits() -> tuple[Digits, Digits]:
    """-> (for training, held out). Raises MissingDependency without scikit-learn."""
    try:
        from sklearn.datasets import load_digits as load
    except ImportError as error:
        raise MissingDependency(
            "the demo's images come with scikit-learn, which is not installed", hint="pip install 'neo-edge[demo]'"
        ) from error
    data = load()
    images = (data.images / 16.0).astype(np.float32)[:, np.newaxis]
    labels = data.target.astype(np.int64)
    # the committed MXNet model was trained with exactly this split
    held_out = np.random.RandomState(0).permutation(len(images))[:HELD_OUT]
    rest = np.setdiff1d(np.arange(len(images)), held_out)
    return Digits(images[rest], labels[rest]), Digits(images[held_out], labels[held_out])

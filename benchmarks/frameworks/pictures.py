"""Pictures to ask a network about. White noise is a poor question: averaged over an image, all of it is alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_FIELDS = 5
_GRAIN = 0.3


def pictures(count: int, height: int, width: int, *, seed: int = 0) -> NDArray[Any]:
    """float32 (count, 3, height, width), about -3 to 3: coloured fields with grain; every picture has a brightness and
    a contrast of its own.
    """
    rng = np.random.default_rng(seed)
    rows, columns = np.arange(height) * _FIELDS // height, np.arange(width) * _FIELDS // width
    fields = rng.standard_normal((count, 3, _FIELDS, _FIELDS))[:, :, rows[:, None], columns]
    contrast, brightness = rng.uniform(0.3, 1.2, (count, 1, 1, 1)), rng.normal(0.0, 0.5, (count, 3, 1, 1))
    grain = _GRAIN * rng.standard_normal((count, 3, height, width))
    return (brightness + contrast * fields + grain).astype(np.float32)


def pixels(pictures_: NDArray[Any]) -> NDArray[Any]:
    """The same as float32 from 0 to 255."""
    found: NDArray[Any] = np.clip(127.5 + 50.0 * pictures_, 0.0, 255.0).astype(np.float32)
    return found

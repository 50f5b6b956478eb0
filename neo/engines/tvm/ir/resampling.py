"""Resizing along one axis: each output pixel is a weighted sum of a few input pixels, the taps.

Indices and weights of taps are known when the model is compiled. Source: the ONNX operator Resize.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_F = np.float32
_Array = NDArray[np.float32]

# coordinate_transformation_mode -> function of (output pixels, sizes before and after) that gives their coordinates in
# the input; in float32, like the reference
COORDINATES: dict[str, Callable[[_Array, int, int], _Array]] = {
    "half_pixel": lambda at, before, after: (at + _F(0.5)) / (_F(after) / _F(before)) - _F(0.5),
    "pytorch_half_pixel": lambda at, before, after: (
        (at + _F(0.5)) / (_F(after) / _F(before)) - _F(0.5) if after > 1 else np.zeros_like(at)
    ),
    "align_corners": lambda at, before, after: at * _F(before - 1) / _F(after - 1) if after > 1 else np.zeros_like(at),
    "asymmetric": lambda at, before, after: at / (_F(after) / _F(before)),
}
# nearest_mode -> function that rounds a coordinate to a pixel
NEAREST: dict[str, Callable[[_Array], _Array]] = {
    "round_prefer_floor": lambda at: np.ceil(at - _F(0.5)),
    "round_prefer_ceil": lambda at: np.floor(at + _F(0.5)),
    "floor": np.floor,
    "ceil": np.ceil,
}
METHODS = ("nearest_neighbor", "linear", "cubic")


@dataclass(frozen=True, slots=True)
class Taps:
    """The input pixels of each output pixel along one axis."""

    #: [output, tap]
    indices: NDArray[np.int32]
    #: [output, tap]; None: there is one tap, of weight 1
    weights: _Array | None

    @classmethod
    def of(cls, attrs: Any, before: int, after: int) -> Taps:
        """attrs: of relax.image.resize2d."""
        coordinates = COORDINATES[attrs.coordinate_transformation_mode](np.arange(after, dtype=_F), before, after)
        if attrs.method == "nearest_neighbor":
            nearest = NEAREST[attrs.rounding_method](coordinates)
            return cls(nearest.clip(0, before - 1).astype(np.int32)[:, None], None)
        base = np.floor(coordinates)
        part = coordinates - base
        if attrs.method == "linear":
            offsets, weights = [0, 1], [1 - part, part]
        else:
            offsets, weights = [-1, 0, 1, 2], _cubic(part, _F(attrs.cubic_alpha))
        indices = np.stack([base + offset for offset in offsets], 1).astype(np.int32)
        shares = np.stack(weights, 1).astype(_F)
        if attrs.method == "cubic" and attrs.cubic_exclude:
            shares = shares * ((indices >= 0) & (indices < before))
            shares = shares / shares.sum(1, keepdims=True)
        return cls(indices.clip(0, before - 1), shares)


def _cubic(part: _Array, alpha: np.float32) -> list[_Array]:
    """Source: Keys, "Cubic convolution interpolation for digital image processing", 1981."""

    def near(x: _Array) -> Any:
        return ((alpha + 2) * x - (alpha + 3)) * x * x + 1

    def far(x: _Array) -> Any:
        return ((alpha * x - 5 * alpha) * x + 8 * alpha) * x - 4 * alpha

    return [far(part + 1), near(part), near(1 - part), far(2 - part)]

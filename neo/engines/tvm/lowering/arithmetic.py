"""How a reduction multiplies: float32 by float32, or with inputs in bfloat16.

Loop nests are written once, with the arithmetic as a parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import te, tirx

from neo.engines.tvm import bfloat16

Scalar = Any

# how many channels one step takes where two are multiplied at a time
PAIR = 2


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Of float32. depth: how many channels of the input one step of the reduction takes. input: the dtype that it is
    stored in.
    """

    depth: int = 1
    input: str = "float32"

    def product(self, read: Callable[[Scalar], Scalar], step: Scalar, weight: Scalar) -> Scalar:
        """read: channel -> the input's value. weight: the weight of this step. -> float32"""
        return read(step) * weight

    def weights(self, array: NDArray[np.float32]) -> NDArray[Any]:
        """[..., channels, columns] -> [..., steps, columns], as ``product`` wants them."""
        return array


@dataclass(frozen=True, slots=True)
class Halves(Arithmetic):
    """Inputs in bfloat16, weights in float32: half the memory traffic of inputs that are read for few outputs."""

    input: str = bfloat16.STORAGE

    def product(self, read: Callable[[Scalar], Scalar], step: Scalar, weight: Scalar) -> Scalar:
        return bfloat16.widened(read(step)) * weight


@dataclass(frozen=True, slots=True)
class Pairs(Arithmetic):
    """Inputs and weights in bfloat16, two channels at a time, sums in float32."""

    depth: int = PAIR
    input: str = bfloat16.STORAGE
    unit: bfloat16.Unit = field(kw_only=True)

    def product(self, read: Callable[[Scalar], Scalar], step: Scalar, weight: Scalar) -> Scalar:
        return bfloat16.dot(self.unit, bfloat16.pair(read(2 * step), read(2 * step + 1)), weight)

    def weights(self, array: NDArray[np.float32]) -> NDArray[Any]:
        return bfloat16.encode_pairs(array)


FLOATS = Arithmetic()


def encode(x: te.Tensor) -> te.Tensor:
    """float32 -> bfloat16"""
    return te.compute(x.shape, lambda *at: bfloat16.rounded(x(*at)), name="encode")


def decode(x: te.Tensor) -> te.Tensor:
    """Bfloat16 -> float32"""
    return te.compute(x.shape, lambda *at: bfloat16.widened(x(*at)), name="decode")


def zero(x: te.Tensor) -> Scalar:
    """Of the tensor's dtype; all its bits are zero in either."""
    return tirx.const(0, x.dtype)

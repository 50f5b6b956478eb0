"""How a reduction multiplies: in float32 or bfloat16.

Loop nests are written once, with the arithmetic as a parameter.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import te, tirx

from neo.engines.tvm.cpu.units import bfloat16

Scalar = Any

# a pixel with at most so many channels is read as one integer
MOST_CHANNELS = 4
# channels in one step of a reduction that multiplies pairs
PAIR_CHANNELS = 2


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Inputs and weights in float32."""

    #: channels of the input that one step of the reduction takes
    depth: int = 1
    #: dtype of the input
    input: str = "float32"
    #: computed in AMX tiles
    tiles: bool = False

    def product(self, read: Callable[[Scalar], Scalar], step: Scalar, weight: Scalar) -> Scalar:
        """The term that one step adds. read: channel -> value of the input. weight: of this step. -> float32"""
        return read(step) * weight

    def weights(self, array: NDArray[np.float32]) -> NDArray[Any]:
        """[..., channels, columns] -> [..., steps, columns], as ``product`` reads them."""
        return array

    def encode(self, x: te.Tensor) -> te.Tensor:
        """float32 input -> input as ``product`` reads it."""
        return x


@dataclass(frozen=True, slots=True)
class Halves(Arithmetic):
    """Inputs in bfloat16, weights in float32. Halves the memory traffic of inputs that contribute to few outputs."""

    input: str = bfloat16.STORAGE

    def product(self, read: Callable[[Scalar], Scalar], step: Scalar, weight: Scalar) -> Scalar:
        return bfloat16.widened(read(step)) * weight

    def encode(self, x: te.Tensor) -> te.Tensor:
        return encode(x)


@dataclass(frozen=True, slots=True)
class Pairs(Arithmetic):
    """Inputs and weights in bfloat16, two channels in a step, sums in float32."""

    depth: int = PAIR_CHANNELS
    input: str = bfloat16.STORAGE
    unit: bfloat16.Unit = field(kw_only=True)

    def product(self, read: Callable[[Scalar], Scalar], step: Scalar, weight: Scalar) -> Scalar:
        return bfloat16.dot(self.unit, bfloat16.pair(read(2 * step), read(2 * step + 1)), weight)

    def weights(self, array: NDArray[np.float32]) -> NDArray[Any]:
        *lead, channels, columns = array.shape
        whole = np.concatenate([array, np.zeros((*lead, channels % PAIR_CHANNELS, columns), array.dtype)], -2)
        return bfloat16.encode_pairs(whole)

    def encode(self, x: te.Tensor) -> te.Tensor:
        return encode(x, PAIR_CHANNELS)


@dataclass(frozen=True, slots=True)
class Pixels(Pairs):
    """Pairs, with the three or four channels of a pixel in one integer, so that an image is rearranged one vector of
    pixels at a time.
    """

    input: str = "uint64"

    def product(self, read: Callable[[Scalar], Scalar], step: Scalar, weight: Scalar) -> Scalar:
        shift = tirx.Cast(self.input, step * (PAIR_CHANNELS * bfloat16.HALF_BITS))
        return bfloat16.dot(self.unit, tirx.Cast(bfloat16.PAIR, read(0) >> shift), weight)

    def encode(self, x: te.Tensor) -> te.Tensor:
        *lead, channels = (int(dim) for dim in x.shape)

        def pixel(*at: tirx.Var) -> Scalar:
            halves = [tirx.Cast(self.input, bfloat16.rounded(x(*at[:-1], c))) for c in range(channels)]
            parts = [h << tirx.const(c * bfloat16.HALF_BITS, self.input) for c, h in enumerate(halves)]
            return functools.reduce(operator.or_, parts)

        return te.compute((*lead, 1), pixel, name="encode")


FLOATS = Arithmetic()


def encode(x: te.Tensor, depth: int = 1) -> te.Tensor:
    """float32 -> bfloat16, with the channels padded with zeros to a multiple of depth."""
    *lead, channels = (int(dim) for dim in x.shape)
    whole = -(-channels // depth) * depth

    def value(*at: tirx.Var) -> Scalar:
        half = bfloat16.rounded(x(*at))
        return half if whole == channels else tirx.if_then_else(at[-1] < channels, half, tirx.const(0, half.ty.dtype))

    return te.compute((*lead, whole), value, name="encode")


def decode(x: te.Tensor) -> te.Tensor:
    """Bfloat16 -> float32"""
    return te.compute(x.shape, lambda *at: bfloat16.widened(x(*at)), name="decode")


def zero(x: te.Tensor) -> Scalar:
    """Zero of the tensor's dtype; that of bfloat16 has only zero bits too."""
    return tirx.const(0, x.dtype)

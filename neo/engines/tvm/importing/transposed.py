"""Transposed convolution as a convolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from neo.engines.tvm.ir.constants import constant_of

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class TransposedConvolution:
    """A transposed convolution with constant weights.

    Before cropping, output[stride * q + phase] is the sum over t of x[q - t] * weights[phase + stride * t]: for each
    phase a convolution of x with every stride-th tap.
    """

    #: [N, C, H, W]
    x: Any
    #: [C, O, KH, KW]
    weights: NDArray[Any]
    #: [O]
    bias: NDArray[Any] | None
    #: (vertical, horizontal), as the fields below
    strides: Pair
    #: rows and columns of the result that are cropped at the top and on the left
    begins: Pair
    #: of the output, after cropping
    size: Pair

    @classmethod
    def of(cls, builder: Any, inputs: Sequence[Any], attributes: Any) -> TransposedConvolution | None:
        """None for what this method does not support: groups, dilation, auto_pad, output_shape, other ranks than
        images, weights that are not constant.
        """
        x, weights = builder.normalize(inputs[0]), constant_of(inputs[1])
        bias = constant_of(inputs[2]) if len(inputs) > 2 and inputs[2] is not None else None
        if weights is None or weights.ndim != 4 or (bias is None and len(inputs) > 2 and inputs[2] is not None):
            return None
        plain = int(attributes.get("group", 1)) == 1 and all(d == 1 for d in attributes.get("dilations", [1]))
        auto = attributes.get("auto_pad", b"NOTSET")
        if not plain or auto not in (b"NOTSET", "NOTSET") or "output_shape" in attributes:
            return None
        height, width = (int(dim) for dim in x.ty.shape.values[2:])
        strides = tuple(int(s) for s in attributes.get("strides", [1, 1]))
        top, left, bottom, right = (int(p) for p in attributes.get("pads", [0, 0, 0, 0]))
        extra = [int(p) for p in attributes.get("output_padding", [0, 0])]
        kernel = weights.shape[2:]
        size = (
            (height - 1) * strides[0] + kernel[0] + extra[0] - top - bottom,
            (width - 1) * strides[1] + kernel[1] + extra[1] - left - right,
        )
        made = cls(x, weights, bias, strides, (top, left), size)  # type: ignore[arg-type]  # pairs
        enough = all(b + s <= w for b, s, w in zip(made.begins, size, made._uncropped(height, width), strict=True))
        return made if enough and min(size) > 0 else None

    @property
    def _taps(self) -> Pair:
        """The most kernel taps that contribute to one output."""
        height, width = self.weights.shape[2:]
        return -(-height // self.strides[0]), -(-width // self.strides[1])

    def _uncropped(self, height: int, width: int) -> Pair:
        return (height + self._taps[0] - 1) * self.strides[0], (width + self._taps[1] - 1) * self.strides[1]

    def build(self, builder: Any) -> Any:
        """The Relax expression, [N, O, H', W']."""
        images, _, height, width = (int(dim) for dim in self.x.ty.shape.values)
        filters = self.weights.shape[1]
        (down, along), (high, wide) = self.strides, self._taps
        padding = [high - 1, wide - 1, high - 1, wide - 1]
        result = relax.op.nn.conv2d(self.x, relax.const(self._kernel()), padding=padding)
        if self.bias is not None:
            bias = np.tile(self.bias, down * along).reshape(1, -1, 1, 1)
            result = relax.op.add(result, relax.const(bias))
        rows, columns = height + high - 1, width + wide - 1
        # depth to space, written with channels last, because the convolution's result will have them so
        result = relax.op.permute_dims(builder.normalize(result), [0, 2, 3, 1])
        result = relax.op.reshape(builder.normalize(result), (images, rows, columns, down, along, filters))
        result = relax.op.permute_dims(builder.normalize(result), [0, 1, 3, 2, 4, 5])
        result = relax.op.reshape(builder.normalize(result), (images, rows * down, columns * along, filters))
        result = relax.op.permute_dims(builder.normalize(result), [0, 3, 1, 2])
        if self.size == (rows * down, columns * along):
            return result
        ends = [begin + size for begin, size in zip(self.begins, self.size, strict=True)]
        return relax.op.strided_slice(builder.normalize(result), [2, 3], list(self.begins), ends)

    def _kernel(self) -> NDArray[Any]:
        """[phases * O, C, taps, taps]; phases are outermost, so that the channels of one phase stay contiguous."""
        channels, filters, height, width = self.weights.shape
        (down, along), (high, wide) = self.strides, self._taps
        whole = np.zeros((channels, filters, high * down, wide * along), self.weights.dtype)
        whole[:, :, :height, :width] = self.weights
        taps = whole.reshape(channels, filters, high, down, wide, along)[:, :, ::-1, :, ::-1, :]
        return np.ascontiguousarray(
            taps.transpose(3, 5, 1, 0, 2, 4).reshape(down * along * filters, channels, high, wide)
        )

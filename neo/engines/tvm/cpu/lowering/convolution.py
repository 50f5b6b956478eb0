"""Direct convolution in channels-last layout (NHWC data, HWIO weights), as implicit GEMM with sizes that tile well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import te, tirx

from neo.engines.tvm.cpu.lowering.arithmetic import zero
from neo.engines.tvm.cpu.lowering.image_rows import ImageRows
from neo.engines.tvm.cpu.lowering.rows import Rows, cropped
from neo.engines.tvm.cpu.lowering.tiled import Sliding
from neo.engines.tvm.cpu.lowering.window import Window
from neo.engines.tvm.ir.patterns import STRIDE

# positions of the dimensions images, rows, columns and channels
Order = tuple[int, int, int, int]
CHANNELS_LAST: Order = (0, 1, 2, 3)
CHANNELS_FIRST: Order = (0, 2, 3, 1)
# rows of zeros are skipped if at least this share of the rows that are read is zero. The condition prevents prefetching
# of weights: with a tenth of the rows it cost more than it saved
WORTH_ASKING = 0.2
# rank of weights that are stored by group
GROUPED = 5


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes and positions of the input, its padding and the output; pairs are (height, width)."""

    #: of the input's dimensions
    order: Order
    images: int
    #: of the input without padding
    size: tuple[int, int]
    #: padding above and on the left
    begin: tuple[int, int]
    #: of the input with padding
    padded: tuple[int, int]
    #: of the output
    out: tuple[int, int]
    #: columns of the output that are computed; may be more than the output has
    wide: int
    depthwise: bool
    #: horizontal stride
    along: int
    #: extra columns of padding on the left, which are not read
    shift: int = 0
    #: more than 1 for a horizontal stride: the padded input is [N, H, phases, W / phases, C], so that neighbouring
    #: outputs read neighbouring inputs
    phases: int = 1

    @property
    def has_zeros(self) -> bool:
        """Is there padding that windows reach? With a stride, they may end before it."""
        return self.padded != self.size

    def attrs(self, window: Window, kernel_height: int) -> dict[str, Any]:
        """Attributes for te.compute: the rows of zeros, if there are many; the stride of a depthwise convolution."""
        if self.depthwise:
            return {STRIDE: self.along}
        rows = ImageRows(self.begin[0], self.size[0], window.strides[0], window.dilation[0])
        return {} if rows.share(kernel_height, self.out[0]) < WORTH_ASKING else rows.attrs()

    def aligned(self, lanes: int) -> Geometry:
        """With more padding on both sides, so that every vector of a row is either padding or image, provided that the
        width of the image is a whole number of vectors.
        """
        (_, left), (_, width) = self.begin, self.size
        begin = -(-left // lanes) * lanes
        right = max(self.padded[1] - left - width, 0)
        padded = self.padded[0], begin + -(-(width + right) // lanes) * lanes
        return replace(self, begin=(self.begin[0], begin), padded=padded, shift=begin - left, phases=1)

    def pixel_index(self, n: Any, y: Any, column: Any, reach: Any) -> list[Any]:
        """Indices of a pixel in the padded input. y: its row. column: of the output. reach: offset of the pixel from
        the leftmost one that this column reads.
        """
        if self.phases > 1:
            return [n, y, reach % self.phases, column + reach // self.phases]
        return [n, y, column * self.along + reach + self.shift]

    def ordered(self, *at: Any) -> list[Any]:
        """Indices with the channel last -> in the order of the padded input's dimensions."""
        return list(at) if self.phases > 1 else _ordered(self.order, *at)

    @classmethod
    def of(cls, shape: Sequence[int], weights: Sequence[int], window: Window, rows: Rows) -> Geometry:
        """shape: of the input. weights: shape of the weights, [KH, KW, steps, O]."""
        order = CHANNELS_FIRST if window.channels_first else CHANNELS_LAST
        images, height, width, _ = (shape[axis] for axis in order)
        top, left, bottom, right = window.padding
        reach_y, reach_x = (spread * (k - 1) for spread, k in zip(window.dilation, weights[:2], strict=True))
        down, along = window.strides
        out = (height + top + bottom - reach_y - 1) // down + 1, (width + left + right - reach_x - 1) // along + 1
        *_, steps, filters = weights
        depthwise = window.groups > 1 and steps == 1
        wide = rows.round_up_strips(out[1], filters, along) if depthwise else rows.round_up(out[1], filters)
        if any(window.padding):  # without padding, reading the last column again is cheaper than copying the image
            right = max(0, (wide - 1) * along + reach_x + 1 - width - left)
        padded = height + top + bottom, width + left + right
        is_copied = padded != (height, width) and not depthwise and not window.channels_first
        phases = along if is_copied and not rows.arithmetic.tiles else 1
        return cls(order, images, (height, width), (top, left), padded, out, wide, depthwise, along, phases=phases)


def convolution(
    x: te.Tensor, weights: te.Tensor, window: Window, rows: Rows, geometry: Geometry | None, *, filters: int
) -> te.Tensor:
    """x: [N, H, W, C], padded by ``pad`` unless the convolution is depthwise. weights: [KH, KW, C / groups, O], or of
    several groups as ``by_group`` returns them. Both as the arithmetic reads them. -> [N, H', W', filters] float32.

    geometry: None for a pointwise convolution. filters: O, or less if the weights were padded with columns. Rows of the
    output are computed a little wider if that gives better tiles. The result is cropped by a copy, which fuses with the
    epilogue.
    """
    if geometry is None:
        return _pointwise(x, weights, filters, rows)
    if geometry.depthwise and geometry.has_zeros:
        x = pad(x, geometry, by_mask=True)
    if len(weights.shape) == GROUPED:
        return _grouped(x, weights, window, rows, geometry)
    return _spatial(x, weights, window, rows, geometry, filters=filters)


def is_pointwise(kernel: Sequence[int], window: Window) -> bool:
    """Is the convolution a matrix product over pixels? kernel: its first elements are height and width."""
    still = window.strides == (1, 1) and not any(window.padding)
    return tuple(kernel[:2]) == (1, 1) and still and window.groups == 1 and not window.channels_first


def _pointwise(x: te.Tensor, weights: te.Tensor, filters: int, rows: Rows) -> te.Tensor:
    """A matrix product over all pixels."""
    images, height, width, _ = (int(dim) for dim in x.shape)
    steps, computed = int(weights.shape[2]), int(weights.shape[3])
    pixels = images * height * width
    step = te.reduce_axis((0, steps), name="c")

    def product(row: tirx.Var, column: tirx.Var) -> Any:
        at = rows.clamp(row, pixels, computed)
        index = at // (height * width), at % (height * width) // width, at % width
        term = rows.arithmetic.product(lambda c: x(*index, c), step, weights[0, 0, step, column])
        return te.sum(term, axis=step)

    wide = te.compute((rows.round_up(pixels, computed), computed), product, name="conv2d", attrs=rows.attrs(x))
    return te.compute(
        (images, height, width, filters), lambda n, h, w, o: wide[(n * height + h) * width + w, o], name="pixels"
    )


def _spatial(
    padded: te.Tensor, weights: te.Tensor, window: Window, rows: Rows, geometry: Geometry, *, filters: int
) -> te.Tensor:
    kernel_height, kernel_width, steps, computed = (int(dim) for dim in weights.shape)
    (down, along), (spread_y, spread_x) = window.strides, window.dilation
    (out_height, out_width), wide = geometry.out, geometry.wide
    ky = te.reduce_axis((0, kernel_height), name="ky")
    kx = te.reduce_axis((0, kernel_width), name="kx")
    step = te.reduce_axis((0, steps), name="c")
    per_group = filters // window.groups

    def product(n: tirx.Var, h: tirx.Var, w: tirx.Var, o: tirx.Var) -> Any:
        first = 0 if window.groups == 1 else o // per_group * steps
        column = w if any(window.padding) or wide == out_width else tirx.min(w, out_width - 1)
        pixel = geometry.pixel_index(n, h * down + ky * spread_y, column, kx * spread_x)
        weight = weights[ky, kx, step, o]
        term = rows.arithmetic.product(lambda c: padded(*geometry.ordered(*pixel, first + c)), step, weight)
        return te.sum(term, axis=[ky, kx, step])

    pitch = geometry.padded[1]
    kernel = kernel_height, kernel_width
    sliding = Sliding(geometry.images, geometry.out, kernel, window, pitch, steps, computed)
    if rows.arithmetic.tiles and sliding.is_one_line:
        line = te.compute(
            (geometry.images, sliding.line, computed),
            lambda n, p, o: product(n, p // pitch, p % pitch, o),
            name="conv2d",
            attrs=rows.attrs(padded, merged=sliding.merged, pitch=pitch),
        )
        shape = geometry.images, out_height, out_width, filters
        return te.compute(shape, lambda n, h, w, o: line[n, h * pitch + w, o], name="cropped")
    result = te.compute(
        (geometry.images, out_height, wide, computed),
        product,
        name="conv2d",
        attrs={**rows.attrs(padded, step=along, merged=sliding.merged), **geometry.attrs(window, kernel_height)},
    )
    if (wide, computed) == (out_width, filters):
        return result
    return cropped(result, (geometry.images, out_height, out_width, filters))


def _grouped(padded: te.Tensor, weights: te.Tensor, window: Window, rows: Rows, geometry: Geometry) -> te.Tensor:
    """One convolution for each group. Only filters of one group read the same inputs, so vectors are no wider than
    it.
    """
    groups, kernel_height, kernel_width, steps, filters = (int(dim) for dim in weights.shape)
    down, (spread_y, spread_x) = window.strides[0], window.dilation
    (height, width), wide = geometry.out, geometry.wide
    ky = te.reduce_axis((0, kernel_height), name="ky")
    kx = te.reduce_axis((0, kernel_width), name="kx")
    step = te.reduce_axis((0, steps), name="c")

    def product(n: tirx.Var, group: tirx.Var, h: tirx.Var, w: tirx.Var, o: tirx.Var) -> Any:
        column = w if any(window.padding) or wide == width else tirx.min(w, width - 1)
        pixel = geometry.pixel_index(n, h * down + ky * spread_y, column, kx * spread_x)
        first = group * steps * rows.arithmetic.depth
        weight = weights[group, ky, kx, step, o]
        term = rows.arithmetic.product(lambda c: padded(*geometry.ordered(*pixel, first + c)), step, weight)
        return te.sum(term, axis=[ky, kx, step])

    shape = geometry.images, groups, height, wide, filters
    result = te.compute(shape, product, name="conv2d", attrs=geometry.attrs(window, kernel_height))
    return te.compute(
        (geometry.images, height, width, groups * filters),
        lambda n, h, w, o: result[n, o // filters, h, w, o % filters],
        name="side_by_side",
    )


def by_group(weights: NDArray[Any], groups: int) -> NDArray[Any]:
    """[KH, KW, C / groups, O] -> [groups, KH, KW, C / groups, O / groups]"""
    *lead, filters = weights.shape
    return np.ascontiguousarray(np.moveaxis(weights.reshape(*lead, groups, filters // groups), -2, 0))


def pad(x: te.Tensor, geometry: Geometry, *, by_mask: bool = False) -> te.Tensor:
    """X padded with zeros.

    by_mask: instead of padding, indices are clamped to the image and the value is replaced by zero, which costs a
    vector unit little. For convolutions that use each input for few outputs: a padded copy would cost as much as they
    do.
    """
    order, (top, left) = geometry.order, geometry.begin
    images, height, width, channels = (int(x.shape[axis]) for axis in order)

    def value(n: tirx.Var, h: tirx.Var, w: Any, c: tirx.Var) -> Any:
        y, x_ = h - top, w - left
        inside = tirx.all(y >= 0, y < height, x_ >= 0, x_ < width)
        if not by_mask:
            return tirx.if_then_else(inside, x(*_ordered(order, n, y, x_, c)), zero(x))
        near = tirx.max(tirx.min(y, height - 1), 0), tirx.max(tirx.min(x_, width - 1), 0)
        # likely keeps TVM from removing the clamp because of the condition; but a Select reads x even where it is false
        return tirx.Select(tirx.likely(inside), x(*_ordered(order, n, *near, c)), zero(x))

    phases, (rows, columns) = geometry.phases, geometry.padded
    if phases > 1:
        split = images, rows, phases, -(-columns // phases), channels
        return te.compute(split, lambda n, h, phase, w, c: value(n, h, w * phases + phase, c), name="pad")
    shape = _ordered(order, images, rows, columns, channels)
    return te.compute(shape, lambda *at: value(*(at[axis] for axis in order)), name="pad")


def _ordered(order: Order, *nhwc: Any) -> list[Any]:
    """Values for n, h, w, c -> in the order of the tensor's dimensions."""
    return [nhwc[order.index(axis)] for axis in range(len(order))]

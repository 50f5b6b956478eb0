"""Convolution in channels-last layout (NHWC data, HWIO weights) as a loop nest that tiles well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import relax, te, tirx

from neo.engines.tvm.lowering.arithmetic import zero
from neo.engines.tvm.lowering.rows import Rows, cropped

FLOAT = "float32"

# where a tensor has its images, rows, columns and channels
Order = tuple[int, int, int, int]
CHANNELS_LAST: Order = (0, 1, 2, 3)
CHANNELS_FIRST: Order = (0, 2, 3, 1)


@dataclass(frozen=True, slots=True)
class Window:
    """How the kernel moves over the image, each as (vertical, horizontal). padding: (top, left, bottom, right).

    channels_first: the image is NCHW; the result is NHWC all the same.
    """

    strides: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int
    channels_first: bool = False


def window_of(call: relax.Call) -> Window | None:
    """None if the call is not a float32 convolution with fixed shapes in our layout."""
    attrs = call.attrs
    shapes = [argument.ty.shape for argument in call.args]
    fixed = all(isinstance(dim, tirx.IntImm) for shape in shapes for dim in shape)
    layouts = (attrs.kernel_layout, attrs.out_layout)
    floats = all(str(argument.ty.dtype) == FLOAT for argument in call.args)
    if not fixed or not floats or layouts != ("HWIO", "NHWC"):
        return None
    numbers = [tuple(int(value) for value in values) for values in (attrs.strides, attrs.padding, attrs.dilation)]
    strides, padding, dilation = numbers
    first = attrs.data_layout == "NCHW"
    return Window(strides, padding, dilation, int(attrs.groups), first)  # type: ignore[arg-type]  # of these lengths


def convolution(x: te.Tensor, weights: te.Tensor, filters: int, window: Window, rows: Rows) -> te.Tensor:
    """x: [N, H, W, C]. weights: [KH, KW, C / groups, O], as the arithmetic wants both. -> [N, H', W', filters] float32.

    filters: O, or less if the weights are wider than they should be.
    Every row of the output is computed a little wider than it is where that gives better tiles; what is too much is
    left out again by a copy that fuses with the epilogue.
    """
    height, width, *_ = (int(dim) for dim in weights.shape)
    still = window.strides == (1, 1) and not any(window.padding)
    if (height, width) == (1, 1) and still and window.groups == 1 and not window.channels_first:
        return _pointwise(x, weights, filters, rows)
    return _spatial(x, weights, filters, window, rows)


def _pointwise(x: te.Tensor, weights: te.Tensor, filters: int, rows: Rows) -> te.Tensor:
    """A matrix product over all pixels."""
    images, height, width, _ = (int(dim) for dim in x.shape)
    steps, computed = int(weights.shape[2]), int(weights.shape[3])
    pixels = images * height * width
    step = te.reduce_axis((0, steps), name="c")

    def product(row: tirx.Var, column: tirx.Var) -> Any:
        at = rows.clamp(row, pixels, computed)
        place = at // (height * width), at % (height * width) // width, at % width
        term = rows.arithmetic.product(lambda c: x(*place, c), step, weights[0, 0, step, column])
        return te.sum(term, axis=step)

    wide = te.compute((rows.round_up(pixels, computed), computed), product, name="conv2d")
    return te.compute(
        (images, height, width, filters), lambda n, h, w, o: wide[(n * height + h) * width + w, o], name="pixels"
    )


def _spatial(x: te.Tensor, weights: te.Tensor, filters: int, window: Window, rows: Rows) -> te.Tensor:
    order = CHANNELS_FIRST if window.channels_first else CHANNELS_LAST
    images, height, width, _ = (int(x.shape[axis]) for axis in order)
    kernel_height, kernel_width, steps, computed = (int(dim) for dim in weights.shape)
    top, left, bottom, right = window.padding
    (down, along), (spread_y, spread_x) = window.strides, window.dilation
    out_height = (height + top + bottom - spread_y * (kernel_height - 1) - 1) // down + 1
    out_width = (width + left + right - spread_x * (kernel_width - 1) - 1) // along + 1
    depthwise = window.groups > 1 and steps == 1
    wide = (rows.round_up_strips if depthwise else rows.round_up)(out_width, computed)
    if any(window.padding):  # else it is cheaper to read the last column again than to copy the image
        right = max(0, (wide - 1) * along + spread_x * (kernel_width - 1) + 1 - width - left)
    pad = _mask if depthwise else _pad
    padded = pad(x, order, (top, left), (height + top + bottom, width + left + right))
    ky = te.reduce_axis((0, kernel_height), name="ky")
    kx = te.reduce_axis((0, kernel_width), name="kx")
    step = te.reduce_axis((0, steps), name="c")
    per_group = filters // window.groups

    def product(n: tirx.Var, h: tirx.Var, w: tirx.Var, o: tirx.Var) -> Any:
        first = 0 if window.groups == 1 else o // per_group * steps
        column = w if any(window.padding) or wide == out_width else tirx.min(w, out_width - 1)
        place = n, h * down + ky * spread_y, column * along + kx * spread_x
        term = rows.arithmetic.product(
            lambda c: padded(*_ordered(order, *place, first + c)), step, weights[ky, kx, step, o]
        )
        return te.sum(term, axis=[ky, kx, step])

    result = te.compute((images, out_height, wide, computed), product, name="conv2d")
    if (wide, computed) == (out_width, filters):
        return result
    return cropped(result, (images, out_height, out_width, filters))


def _pad(x: te.Tensor, order: Order, begin: tuple[int, int], size: tuple[int, int]) -> te.Tensor:
    images, height, width, channels = (int(x.shape[axis]) for axis in order)
    if size == (height, width):
        return x

    def value(*at: tirx.Var) -> Any:
        n, h, w, c = (at[axis] for axis in order)
        y, x_ = h - begin[0], w - begin[1]
        inside = tirx.all(y >= 0, y < height, x_ >= 0, x_ < width)
        return tirx.if_then_else(inside, x(*_ordered(order, n, y, x_, c)), zero(x))

    return te.compute(_ordered(order, images, *size, channels), value, name="pad")


def _mask(x: te.Tensor, order: Order, begin: tuple[int, int], size: tuple[int, int]) -> te.Tensor:
    """As ``_pad``, but what is outside is read somewhere inside and then left out, which a vector unit does in passing.

    For a convolution that reads every input for few outputs, where a copy of its own would cost as much as the work.
    """
    images, height, width, channels = (int(x.shape[axis]) for axis in order)
    if size == (height, width):
        return x

    def value(*at: tirx.Var) -> Any:
        n, h, w, c = (at[axis] for axis in order)
        y, x_ = h - begin[0], w - begin[1]
        inside = tirx.all(y >= 0, y < height, x_ >= 0, x_ < width)
        near = tirx.max(tirx.min(y, height - 1), 0), tirx.max(tirx.min(x_, width - 1), 0)
        return tirx.Select(tirx.likely(inside), x(*_ordered(order, n, *near, c)), zero(x))

    return te.compute(_ordered(order, images, *size, channels), value, name="pad")


def _ordered(order: Order, *nhwc: Any) -> list[Any]:
    """Indices given as n, h, w, c in the order in which the tensor has them."""
    return [nhwc[order.index(axis)] for axis in range(len(order))]

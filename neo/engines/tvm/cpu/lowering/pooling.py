"""Poolings of images in channels-last layout, without a padded copy of the image, and without a float32 copy if it is
stored as bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import relax, te, tirx

from neo.engines.tvm.cpu.lowering.arithmetic import decode
from neo.engines.tvm.cpu.lowering.extremes import max_pool
from neo.engines.tvm.cpu.lowering.halves import half_of
from neo.engines.tvm.ir import extremes
from neo.engines.tvm.tvm_private import tvm_lowers

FLOAT = "float32"
CHANNELS_LAST = "NHWC"
MAX_POOL, AVERAGE_POOL = "relax.nn.max_pool2d", "relax.nn.avg_pool2d"

Pool = Callable[[te.Tensor, "Windows"], te.Tensor]


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of a pooling; all pairs are (height, width)."""

    #: size of a window
    kernel: tuple[int, int]
    strides: tuple[int, int]
    #: padding above and on the left
    begin: tuple[int, int]
    #: padding below and on the right
    end: tuple[int, int]
    #: of the image
    size: tuple[int, int]
    #: number of windows
    out: tuple[int, int]

    @classmethod
    def of(cls, call: relax.Call) -> Windows | None:
        """None for dilation, for other layouts and dtypes, and if a window has no pixel of the image.

        With ceil_mode, the last windows may reach beyond the padding. ``end`` then includes these rows and columns,
        which is right for max pooling only: an average would count them. So an average pooling gives None.
        """
        attrs, dims = call.attrs, [*call.args[0].ty.shape, *call.ty.shape]
        if not all(isinstance(dim, tirx.IntImm) for dim in dims):
            return None
        _, *size, _, _, height, width, _ = (int(dim) for dim in dims)
        top, left, bottom, right = (int(n) for n in attrs.padding)
        (down, along), (high, wide) = ([int(n) for n in values] for values in (attrs.strides, attrs.pool_size))
        sizes = (size[0], size[1]), (height, width)
        last = (height - 1) * down + high - top - size[0], (width - 1) * along + wide - left - size[1]
        end = max(bottom, last[0]), max(right, last[1])
        windows = cls((high, wide), (down, along), (top, left), end, *sizes)
        is_plain = attrs.layout == attrs.out_layout == CHANNELS_LAST and str(call.args[0].ty.dtype) == FLOAT
        together = all(int(n) == 1 for n in attrs.dilation)
        is_taken = end == (bottom, right) or call.op.name == MAX_POOL
        return windows if is_plain and together and is_taken and windows.meet_the_image else None

    @property
    def meet_the_image(self) -> bool:
        """Does every window have a pixel of the image?"""
        axes = zip(self.kernel, self.strides, self.begin, self.size, self.out, strict=True)
        return all(before < k and (count - 1) * step - before < n for k, step, before, n, count in axes)

    def clamped(self, axis: int, index: Any, step: Any) -> tuple[Any, Any]:
        """Row or column of the image at step ``step`` of window ``index``: (clamped to the image, was it inside?)."""
        before, after, size = self.begin[axis], self.end[axis], self.size[axis]
        at = index * self.strides[axis] + step - before
        near, inside = at, tirx.const(1, "bool")
        if before:
            near, inside = tirx.max(near, 0), tirx.all(inside, at >= 0)
        if after:
            near, inside = tirx.min(near, size - 1), tirx.all(inside, at < size)
        return near, inside

    def count(self, axis: int, index: Any) -> Any:
        """Number of rows or columns of a window that are in the image."""
        first = index * self.strides[axis] - self.begin[axis]
        return tirx.min(first + self.kernel[axis], self.size[axis]) - tirx.max(first, 0)


def largest(x: te.Tensor, windows: Windows) -> te.Tensor:
    """x: [N, H, W, C]. Indices outside of the image are clamped: the nearest pixel is in the window too, so reading it
    twice does not change the maximum.
    """
    ky, kx = _steps(windows)

    def value(n: tirx.Var, h: tirx.Var, w: tirx.Var, c: tirx.Var) -> Any:
        (row, _), (column, _) = windows.clamped(0, h, ky), windows.clamped(1, w, kx)
        return extremes.largest(x(n, row, column, c), axis=[ky, kx])

    return te.compute((x.shape[0], *windows.out, x.shape[3]), value, name="max_pool2d")


def mean(x: te.Tensor, windows: Windows, *, of_padding: bool) -> te.Tensor:
    """x: [N, H, W, C]. of_padding: padding counts, as zeros."""
    ky, kx = _steps(windows)

    def total(n: tirx.Var, h: tirx.Var, w: tirx.Var, c: tirx.Var) -> Any:
        (row, above), (column, beside) = windows.clamped(0, h, ky), windows.clamped(1, w, kx)
        inside = tirx.likely(tirx.all(above, beside))
        value = x(n, row, column, c)
        if any(windows.begin) or any(windows.end):
            value = tirx.Select(inside, value, tirx.const(0, FLOAT))
        return te.sum(value, axis=[ky, kx])

    shape = x.shape[0], *windows.out, x.shape[3]
    sums = te.compute(shape, total, name="avg_pool2d")

    def value(n: tirx.Var, h: tirx.Var, w: tirx.Var, c: tirx.Var) -> Any:
        if of_padding:
            return sums(n, h, w, c) * tirx.const(1 / (windows.kernel[0] * windows.kernel[1]), FLOAT)
        return sums(n, h, w, c) / tirx.Cast(FLOAT, windows.count(0, h) * windows.count(1, w))

    return te.compute(shape, value, name="divided")


def _steps(windows: Windows) -> list[te.IterVar]:
    return [te.reduce_axis((0, size), name=name) for size, name in zip(windows.kernel, ("ky", "kx"), strict=True)]


def _max_pool2d(builder: Any, call: relax.Call) -> Any:
    return _pooled(builder, call, largest) if Windows.of(call) is not None else max_pool(builder, call)


def _avg_pool2d(builder: Any, call: relax.Call) -> Any:
    of_padding = bool(call.attrs.count_include_pad)
    return _pooled(builder, call, lambda x, windows: mean(x, windows, of_padding=of_padding))


def _pooled(builder: Any, call: relax.Call, pool: Pool) -> Any:
    windows = Windows.of(call)
    if windows is None:
        return tvm_lowers(builder, call)
    x, name = call.args[0], str(call.op.name).removeprefix("relax.nn.")
    half = half_of(builder, x)
    if half is None:
        return builder.call_te(lambda x: pool(x, windows), x, primfunc_name_hint=name)
    # decoded here: a decode on its own would fuse with the function that computes the value, which would then write
    # float32
    return builder.call_te(lambda x: pool(decode(x), windows), half, primfunc_name_hint=name)


# Relax operator -> its lowering rule
POOLINGS = {MAX_POOL: _max_pool2d, AVERAGE_POOL: _avg_pool2d}

"""Poolings over windows of an image, channels last: without a copy of it with its padding, and of values in bfloat16
without one in float32.
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
    """Sizes as (height, width). begin, end: rows above and columns to the left, below and to the right, that are
    padding. out: how many windows there are.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    begin: tuple[int, int]
    end: tuple[int, int]
    size: tuple[int, int]
    out: tuple[int, int]

    @classmethod
    def of(cls, call: relax.Call) -> Windows | None:
        """None where a window may have no pixel of the image, or pixels that are apart.

        With a size that was rounded up, the last windows may reach beyond the padding; ``end`` then does too, and only
        the largest of a window is the same with it.
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
        axes = zip(self.kernel, self.strides, self.begin, self.size, self.out, strict=True)
        return all(before < k and (count - 1) * step - before < n for k, step, before, n, count in axes)

    def place(self, axis: int, index: Any, step: Any) -> tuple[Any, Any]:
        """-> (where the image has a row or column of a window, or the nearest that it has; is it in the image?)"""
        before, after, size = self.begin[axis], self.end[axis], self.size[axis]
        at = index * self.strides[axis] + step - before
        near, inside = at, tirx.const(1, "bool")
        if before:
            near, inside = tirx.max(near, 0), tirx.all(inside, at >= 0)
        if after:
            near, inside = tirx.min(near, size - 1), tirx.all(inside, at < size)
        return near, inside

    def count(self, axis: int, index: Any) -> Any:
        """How many rows or columns of a window are in the image."""
        first = index * self.strides[axis] - self.begin[axis]
        return tirx.min(first + self.kernel[axis], self.size[axis]) - tirx.max(first, 0)


def largest(x: te.Tensor, windows: Windows) -> te.Tensor:
    """x: [N, H, W, C]. What a window has outside of the image is read at the nearest pixel inside: it is in the window
    too, and changes nothing.
    """
    ky, kx = _steps(windows)

    def value(n: tirx.Var, h: tirx.Var, w: tirx.Var, c: tirx.Var) -> Any:
        (row, _), (column, _) = windows.place(0, h, ky), windows.place(1, w, kx)
        return extremes.largest(x(n, row, column, c), axis=[ky, kx])

    return te.compute((x.shape[0], *windows.out, x.shape[3]), value, name="max_pool2d")


def mean(x: te.Tensor, windows: Windows, *, of_padding: bool) -> te.Tensor:
    """x: [N, H, W, C]. of_padding: its zeros are counted too."""
    ky, kx = _steps(windows)

    def total(n: tirx.Var, h: tirx.Var, w: tirx.Var, c: tirx.Var) -> Any:
        (row, above), (column, beside) = windows.place(0, h, ky), windows.place(1, w, kx)
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
    # what decodes a value would otherwise fuse with what computes it, and the copy in float32 would be written
    return builder.call_te(lambda x: pool(decode(x), windows), half, primfunc_name_hint=name)


# Relax operator -> how it is lowered
POOLINGS = {MAX_POOL: _max_pool2d, AVERAGE_POOL: _avg_pool2d}

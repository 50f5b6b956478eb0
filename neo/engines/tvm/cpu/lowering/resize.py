"""Resizing of images: every output pixel is a weighted sum of input pixels, with constant indices and weights."""

from __future__ import annotations

from typing import Any

from tvm import relax, te, tirx

from neo.engines.tvm.ir.resampling import COORDINATES, METHODS, NEAREST, Taps
from neo.engines.tvm.tvm_private import FUSION_PATTERN, TAKES_EPILOGUE, tvm_lowers

FLOAT = "float32"
# layout -> positions of rows and columns
AXES = {"NCHW": (2, 3), "NHWC": (1, 2)}


def _resize2d(builder: Any, call: relax.Call) -> Any:
    """One axis after the other. Columns come first: the last pass, which writes most pixels, then adds whole rows."""
    attrs, x = call.attrs, call.args[0]
    sizes = [*x.ty.shape, *call.ty.shape]
    fixed = all(isinstance(size, tirx.IntImm) for size in sizes)
    known = attrs.method in METHODS and attrs.coordinate_transformation_mode in COORDINATES
    known &= attrs.method != "nearest_neighbor" or attrs.rounding_method in NEAREST
    if not fixed or not known or attrs.layout not in AXES or str(x.ty.dtype) != FLOAT:
        return tvm_lowers(builder, call)
    rows, columns = AXES[attrs.layout]
    taps = {
        axis: Taps.of(attrs, int(x.ty.shape[axis]), int(call.ty.shape[axis]))
        for axis in (columns, rows)
        if int(x.ty.shape[axis]) != int(call.ty.shape[axis])
    }
    if attrs.method == "nearest_neighbor":
        indices = {axis: relax.const(found.indices) for axis, found in taps.items()}
        return builder.call_te(_picked, x, list(indices), list(indices.values()), primfunc_name_hint="resize2d")
    *first, last = taps or [rows]
    for axis in first:
        # else it would be inlined into the next one and computed for each of its taps
        says = {FUSION_PATTERN: TAKES_EPILOGUE}
        x = builder.emit_te(*_weighted(x, axis, taps[axis]), primfunc_name_hint="resize1d", primfunc_attrs=says)
    found = taps.get(last) or Taps.of(attrs, int(x.ty.shape[last]), int(x.ty.shape[last]))
    return builder.call_te(*_weighted(x, last, found), primfunc_name_hint="resize2d")


def _weighted(x: Any, axis: int, taps: Taps) -> tuple[Any, ...]:
    """(Function that resizes one axis, its arguments ...)."""
    return _interpolated, x, axis, relax.const(taps.indices), relax.const(taps.weights)


def _interpolated(x: te.Tensor, axis: int, indices: te.Tensor, weights: te.Tensor) -> te.Tensor:
    after, count = (int(size) for size in indices.shape)

    def value(*at: tirx.Var) -> Any:
        here = at[axis]
        terms = [x(*at[:axis], indices(here, tap), *at[axis + 1 :]) * weights(here, tap) for tap in range(count)]
        return sum(terms[1:], terms[0])

    return te.compute((*x.shape[:axis], after, *x.shape[axis + 1 :]), value, name="resized")


def _picked(x: te.Tensor, axes: list[int], indices: list[te.Tensor]) -> te.Tensor:
    shape = list(x.shape)
    for axis, index in zip(axes, indices, strict=True):
        shape[int(axis)] = index.shape[0]

    def value(*at: tirx.Var) -> Any:
        source: list[Any] = list(at)
        for axis, index in zip(axes, indices, strict=True):
            source[int(axis)] = index(at[int(axis)], 0)
        return x(*source)

    return te.compute(shape, value, name="resized")


# Relax operator -> its lowering rule
RESIZES = {"relax.image.resize2d": _resize2d}

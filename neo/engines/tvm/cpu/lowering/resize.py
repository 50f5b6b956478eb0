"""Images in another size: every pixel is a weighted sum of some, known when the model is compiled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax, te, tirx

from neo.engines.tvm.ir.patterns import TAKES_EPILOGUE

FLOAT = "float32"
# where a layout has the rows and the columns
AXES = {"NCHW": (2, 3), "NHWC": (1, 2)}

_F = np.float32
_Array = NDArray[np.float32]

# pixel of the output, sizes before and after -> where that is in the input. In float32, as the reference does it.
# Source: the ONNX operator Resize, coordinate_transformation_mode.
COORDINATES: dict[str, Callable[[_Array, int, int], _Array]] = {
    "half_pixel": lambda at, before, after: (at + _F(0.5)) / (_F(after) / _F(before)) - _F(0.5),
    "pytorch_half_pixel": lambda at, before, after: (
        (at + _F(0.5)) / (_F(after) / _F(before)) - _F(0.5) if after > 1 else np.zeros_like(at)
    ),
    "align_corners": lambda at, before, after: at * _F(before - 1) / _F(after - 1) if after > 1 else np.zeros_like(at),
    "asymmetric": lambda at, before, after: at / (_F(after) / _F(before)),
}
# likewise, nearest_mode
NEAREST: dict[str, Callable[[_Array], _Array]] = {
    "round_prefer_floor": lambda at: np.ceil(at - _F(0.5)),
    "round_prefer_ceil": lambda at: np.floor(at + _F(0.5)),
    "floor": np.floor,
    "ceil": np.ceil,
}
METHODS = ("nearest_neighbor", "linear", "cubic")


@dataclass(frozen=True, slots=True)
class Taps:
    """Of one axis. indices: [output, tap], int32. weights: likewise, float32; None: there is one tap, of weight 1."""

    indices: NDArray[np.int32]
    weights: _Array | None

    @classmethod
    def of(cls, attrs: Any, before: int, after: int) -> Taps:
        """attrs: of relax.image.resize2d, with the names above."""
        place = COORDINATES[attrs.coordinate_transformation_mode](np.arange(after, dtype=_F), before, after)
        if attrs.method == "nearest_neighbor":
            nearest = NEAREST[attrs.rounding_method](place)
            return cls(nearest.clip(0, before - 1).astype(np.int32)[:, None], None)
        base = np.floor(place)
        part = place - base
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


def _resize2d(builder: Any, call: relax.Call) -> Any:
    """One axis after the other, the columns first: the rows are longer then, and more of them are written."""
    attrs, x = call.attrs, call.args[0]
    sizes = [*x.ty.shape, *call.ty.shape]
    fixed = all(isinstance(size, tirx.IntImm) for size in sizes)
    known = attrs.method in METHODS and attrs.coordinate_transformation_mode in COORDINATES
    known &= attrs.method != "nearest_neighbor" or attrs.rounding_method in NEAREST
    if not fixed or not known or attrs.layout not in AXES or str(x.ty.dtype) != FLOAT:
        return call.op.get_attr("FLegalize")(builder, call)
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
        says = {"op_pattern": TAKES_EPILOGUE}  # not to be computed again for every reader of the next one
        x = builder.emit_te(*_weighted(x, axis, taps[axis]), primfunc_name_hint="resize1d", primfunc_attrs=says)
    found = taps.get(last) or Taps.of(attrs, int(x.ty.shape[last]), int(x.ty.shape[last]))
    return builder.call_te(*_weighted(x, last, found), primfunc_name_hint="resize2d")


def _weighted(x: Any, axis: int, taps: Taps) -> tuple[Any, ...]:
    """A function of one axis, and what it is called with."""
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
        place: list[Any] = list(at)
        for axis, index in zip(axes, indices, strict=True):
            place[int(axis)] = index(at[int(axis)], 0)
        return x(*place)

    return te.compute(shape, value, name="resized")


# Relax operator -> how it is lowered
RESIZES = {"relax.image.resize2d": _resize2d}

"""Operators that compare: maximum and minimum, reductions to them, argmax and argmin, max poolings, sign.

NaN propagates, and counts as the largest and the smallest element, as in numpy and torch. TVM's own rules lose NaN.
They also start at the smallest finite number, so the maximum of a tensor of -inf is wrong and its index is out of
range.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tvm import relax, te, tirx, topi

from neo.engines.tvm.ir.constants import constant_of
from neo.engines.tvm.ir.extremes import Scalar, larger, largest, smaller, smallest
from neo.engines.tvm.ir.indices import broadcast_index
from neo.engines.tvm.tvm_private import tvm_lowers

Binary = Callable[[Scalar, Scalar], Scalar]
Legalize = Callable[[Any, relax.Call], Any]

# initial index of argmax and argmin; greater than any valid index
_NOWHERE = np.iinfo(np.int64).max


def _is_float(value: Any) -> bool:
    return "float" in str(value.ty.dtype)


def relu(x: te.Tensor) -> te.Tensor:
    """max(x, 0); NaN stays NaN."""
    return te.compute(x.shape, lambda *at: larger(x(*at), tirx.const(0, x.dtype)), name="relu")


def _relu(builder: Any, call: relax.Call) -> Any:
    return builder.call_te(relu, call.args[0], primfunc_name_hint="relu")


def sign(x: te.Tensor) -> te.Tensor:
    """-1 or 1, or x itself if it is zero or NaN."""

    def value(*at: tirx.Var) -> Scalar:
        here, (minus, zero, one) = x(*at), (tirx.const(number, x.dtype) for number in (-1, 0, 1))
        return tirx.Select(here > zero, one, tirx.Select(here < zero, minus, here))

    return te.compute(x.shape, value, name="sign")


def _sign(builder: Any, call: relax.Call) -> Any:
    if not _is_float(call):
        return tvm_lowers(builder, call)
    return builder.call_te(sign, call.args[0], primfunc_name_hint="sign")


def _binary(combine: Binary) -> Legalize:
    """For two operands that broadcast. A constant scalar is written into the loop."""

    def legalize(builder: Any, call: relax.Call) -> Any:
        if not _is_float(call):
            return tvm_lowers(builder, call)
        shape, name = [*call.ty.shape], call.op.name.removeprefix("relax.")

        def combined(*operands: Any) -> te.Tensor:
            def value(*at: tirx.Var) -> Scalar:
                return combine(
                    *(x(*broadcast_index(at, shape, x.shape)) if isinstance(x, te.Tensor) else x for x in operands)
                )

            return te.compute(shape, value, name=name)

        operands = (_number(argument, builder) for argument in call.args)
        return builder.call_te(combined, *operands, primfunc_name_hint=name)

    return legalize


def _number(argument: Any, builder: Any) -> Any:
    """A constant scalar as an expression; other arguments as they are."""
    known = constant_of(argument, builder)
    return argument if known is None or known.ndim else tirx.const(float(known), str(argument.ty.dtype))


def _extreme(reducer: Any) -> Legalize:
    """Maximum or minimum along some axes."""

    def reduced(x: te.Tensor, axes: tuple[int, ...], shape: Sequence[Any]) -> te.Tensor:
        along = {axis: te.reduce_axis((0, x.shape[axis])) for axis in axes}
        kept = [axis for axis in range(len(x.shape)) if len(shape) == len(x.shape) or axis not in along]

        def element(*at: Any) -> Any:
            index = {**dict(zip(kept, at, strict=True)), **along}
            return reducer(x(*(index[axis] for axis in range(len(x.shape)))), axis=list(along.values()))

        return te.compute(shape, element, name="extreme")

    def legalize(builder: Any, call: relax.Call) -> Any:
        x = call.args[0]
        if not _is_float(x):
            return tvm_lowers(builder, call)
        rank = len(x.ty.shape)
        axes = range(rank) if call.attrs.axis is None else sorted(int(axis) % rank for axis in call.attrs.axis)
        return builder.call_te(reduced, x, tuple(axes), call.ty.shape, primfunc_name_hint="extreme")

    return legalize


def _arg_extreme(is_beyond: Callable[[Scalar, Scalar], Scalar], start: float) -> Legalize:
    """Argmax or argmin along an axis: the first of equal elements; if any is NaN, the first NaN."""

    def combine(a: Sequence[Scalar], b: Sequence[Scalar]) -> tuple[Scalar, Scalar]:
        (a_index, a_value), (b_index, b_value) = a, b
        is_nan = [
            tirx.isnan(value) if "float" in str(value.ty.dtype) else tirx.const(0, "bool")
            for value in (a_value, b_value)
        ]
        alike = tirx.any(a_value == b_value, tirx.all(*is_nan))
        beyond = tirx.any(is_beyond(a_value, b_value), tirx.all(is_nan[0], tirx.Not(is_nan[1])))
        beyond = tirx.all(beyond, tirx.any(is_nan[0], tirx.Not(is_nan[1])))
        takes_a = tirx.any(beyond, tirx.all(alike, a_index < b_index))
        return tirx.Select(takes_a, a_index, b_index), tirx.Select(takes_a, a_value, b_value)

    def first(index_dtype: str, dtype: str) -> tuple[Scalar, Scalar]:
        lowest = tirx.min_value(dtype) if start < 0 else tirx.max_value(dtype)
        return tirx.const(_NOWHERE, index_dtype), tirx.const(start, dtype) if "float" in dtype else lowest

    def found(x: te.Tensor, axis: int, shape: Sequence[Any]) -> te.Tensor:
        along = te.reduce_axis((0, x.shape[axis]), name="k")
        keeps = len(shape) == len(x.shape)

        def pair(*at: Any) -> Any:
            behind = at[axis + 1 :] if keeps else at[axis:]
            value = x(*at[:axis], along, *behind)
            return te.comm_reducer(combine, first)((along.var.astype("int64"), value), axis=along)

        indices, _ = te.compute(shape, pair, name="place")
        return te.compute(shape, indices, name="arg_extreme")

    def legalize(builder: Any, call: relax.Call) -> Any:
        x = call.args[0]
        if call.attrs.axis is None:
            return tvm_lowers(builder, call)
        axis = int(call.attrs.axis) % len(x.ty.shape)
        return builder.call_te(found, x, axis, call.ty.shape, primfunc_name_hint="arg_extreme")

    return legalize


def max_pool(builder: Any, call: relax.Call) -> Any:
    """Max pooling of 1, 2 or 3 spatial dimensions, in any layout."""
    attrs, x = call.attrs, call.args[0]
    dims = [*x.ty.shape, *call.ty.shape]
    is_taken = attrs.layout == attrs.out_layout and all(isinstance(dim, tirx.IntImm) for dim in dims) and _is_float(x)
    axes = [attrs.layout.index(letter) for letter in "DHW" if letter in attrs.layout]
    if not is_taken:
        return tvm_lowers(builder, call)
    out = [int(dim) for dim in call.ty.shape]
    kernel, strides, dilation, padding = (
        [int(n) for n in numbers] for numbers in (attrs.pool_size, attrs.strides, attrs.dilation, attrs.padding)
    )
    before, after = [0] * len(out), [0] * len(out)
    for i, axis in enumerate(axes):
        before[axis] = padding[i]
        reach = (out[axis] - 1) * strides[i] + (kernel[i] - 1) * dilation[i] + 1
        after[axis] = max(0, reach - padding[i] - int(x.ty.shape[axis]))

    def pooled(x: te.Tensor) -> te.Tensor:
        if any(before) or any(after):
            x = topi.nn.pad(x, before, after, tirx.const(-math.inf, x.dtype))
        steps = [te.reduce_axis((0, size), name="k") for size in kernel]

        def value(*at: tirx.Var) -> Scalar:
            index = list(at)
            for i, axis in enumerate(axes):
                index[axis] = at[axis] * strides[i] + steps[i] * dilation[i]
            return largest(x(*index), axis=steps)

        return te.compute(out, value, name="max_pool")

    return builder.call_te(pooled, x, primfunc_name_hint=call.op.name.removeprefix("relax.nn."))


def _of_itself(expression: Callable[[Scalar], Scalar]) -> Legalize:
    """For a binary operator on a tensor and itself. TVM simplifies x - x to 0 and x == x to true, which is wrong for
    NaN and infinities. expression: what to compute from x instead.
    """

    def legalize(builder: Any, call: relax.Call) -> Any:
        x, other = call.args
        if not _is_float(x) or not x.same_as(other):
            return tvm_lowers(builder, call)
        name = call.op.name.removeprefix("relax.")
        return builder.call_te(
            lambda x: te.compute(x.shape, lambda *at: expression(x(*at)), name=name), x, primfunc_name_hint=name
        )

    return legalize


def _multiply(builder: Any, call: relax.Call) -> Any:
    """TVM simplifies x * 0 to 0, which is wrong for NaN and infinities."""
    shape, (x, factor) = [*call.ty.shape], call.args
    known = constant_of(factor, builder)
    if known is None:
        x, known = factor, constant_of(x, builder)
    if known is None or known.ndim or known.any() or not _is_float(x):
        return tvm_lowers(builder, call)
    return builder.call_te(
        lambda x: te.compute(shape, lambda *at: _difference(x(*broadcast_index(at, shape, x.shape))), name="multiply"),
        x,
        primfunc_name_hint="multiply",
    )


def _difference(x: Scalar) -> Scalar:
    zero, infinity, nan = (tirx.const(number, x.ty.dtype) for number in (0, math.inf, math.nan))
    return tirx.Select(tirx.abs(x) < infinity, zero, nan)


def _is_number(x: Scalar) -> Scalar:
    return tirx.Not(tirx.isnan(x))


# Relax operator -> its lowering rule
EXTREMES: dict[str, Legalize] = {
    "relax.argmax": _arg_extreme(lambda a, b: a > b, -math.inf),
    "relax.argmin": _arg_extreme(lambda a, b: a < b, math.inf),
    "relax.equal": _of_itself(_is_number),
    "relax.greater_equal": _of_itself(_is_number),
    "relax.less_equal": _of_itself(_is_number),
    "relax.max": _extreme(largest),
    "relax.maximum": _binary(larger),
    "relax.min": _extreme(smallest),
    "relax.minimum": _binary(smaller),
    "relax.nn.max_pool1d": max_pool,
    "relax.nn.max_pool3d": max_pool,
    "relax.nn.relu": _relu,
    "relax.multiply": _multiply,
    "relax.not_equal": _of_itself(tirx.isnan),
    "relax.sign": _sign,
    "relax.subtract": _of_itself(_difference),
}

"""How some Relax operators are lowered to loops: faster, or safer, than by TVM's own rules.

exp, sigmoid, tanh, erf and softmax become polynomials and rational functions, which vectorise.

LLVM turns a vector of ``exp`` into one call to the C library per element; a network full of swish spends most of its
time there. These approximations are good to a few units in the last place of float32.
Source: the Cephes library's expf and Eigen's ptanh and perf, as in TVM's ``topi`` fast functions.

Indices that come from outside are clamped: TVM's own rule reads wherever they point. The largest of nothing but -inf is
-inf: TVM's own rule starts at the smallest finite number, and a row that is masked out altogether looks like another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tvm import relax, te, tirx, topi

FLOAT = "float32"


def sigmoid(x: te.Tensor) -> te.Tensor:
    """1 / (1 + exp(-x))"""
    exponential = topi.fast_exp(topi.negative(x))
    one = tirx.const(1, FLOAT)
    return te.compute(x.shape, lambda *at: one / (one + exponential(*at)), name="sigmoid")


def silu(x: te.Tensor) -> te.Tensor:
    """X * sigmoid(x), also called swish."""
    return topi.multiply(x, sigmoid(x))


def _elementwise(function: Callable[[te.Tensor], te.Tensor]) -> Callable[[Any, Any], Any]:
    def legalize(builder: Any, call: relax.Call) -> Any:
        if str(call.args[0].ty.dtype) != FLOAT:
            return call
        return builder.call_te(function, call.args[0])

    return legalize


def _softmax(builder: Any, call: relax.Call) -> Any:
    if str(call.args[0].ty.dtype) != FLOAT:
        return call
    return builder.call_te(topi.nn.fast_softmax, call.args[0], int(call.attrs.axis))


def _take(builder: Any, call: relax.Call) -> Any:
    return builder.call_te(topi.take, call.args[0], call.args[1], call.attrs.axis, mode="clip")


# functions in Python: te.comm_reducer counts their arguments
def _larger(a: Any, b: Any) -> Any:
    return tirx.max(a, b)


def _smaller(a: Any, b: Any) -> Any:
    return tirx.min(a, b)


def _extreme(combine: Callable[[Any, Any], Any], start: float) -> Callable[[Any, Any], Any]:
    """The largest or smallest along some axes. start: what it is of nothing."""

    def reduced(x: te.Tensor, axes: tuple[int, ...], shape: Sequence[Any]) -> te.Tensor:
        reducer = te.comm_reducer(combine, lambda dtype: tirx.const(start, dtype))
        along = {axis: te.reduce_axis((0, x.shape[axis])) for axis in axes}
        kept = [axis for axis in range(len(x.shape)) if len(shape) == len(x.shape) or axis not in along]

        def element(*at: Any) -> Any:
            place = {**dict(zip(kept, at, strict=True)), **along}
            return reducer(x(*(place[axis] for axis in range(len(x.shape)))), axis=list(along.values()))

        return te.compute(shape, element, name="extreme")

    def legalize(builder: Any, call: relax.Call) -> Any:
        x = call.args[0]
        if "float" not in str(x.ty.dtype):
            return call.op.get_attr("FLegalize")(builder, call)
        rank = len(x.ty.shape)
        axes = range(rank) if call.attrs.axis is None else sorted(int(axis) % rank for axis in call.attrs.axis)
        return builder.call_te(reduced, x, tuple(axes), call.ty.shape, primfunc_name_hint="extreme")

    return legalize


# Relax operator -> how it is lowered
FUNCTIONS = {
    "relax.exp": _elementwise(topi.fast_exp),
    "relax.sigmoid": _elementwise(sigmoid),
    "relax.nn.silu": _elementwise(silu),
    "relax.tanh": _elementwise(topi.fast_tanh),
    "relax.erf": _elementwise(topi.fast_erf),
    "relax.nn.softmax": _softmax,
    "relax.take": _take,
    "relax.max": _extreme(_larger, -math.inf),
    "relax.min": _extreme(_smaller, math.inf),
}

"""Lowering rules for single operators that are faster, or safer, than TVM's own.

exp, sigmoid, tanh, erf and softmax become polynomials and rational functions, which vectorise. LLVM would call the C
library once for each element of a vector, and a network full of swish would spend most of its time there. The
approximations are accurate to a few units in the last place of float32.
Source: the Cephes library's expf and Eigen's ptanh and perf, as in TVM's ``topi`` fast functions.

Indices that are inputs of the model are clamped: with TVM's own rule, an invalid index reads foreign memory.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable
from typing import Any

from tvm import relax, te, tirx, topi

from neo.engines.tvm.ir import activations
from neo.engines.tvm.ir.constants import constant_of
from neo.engines.tvm.ir.indices import flatten, unflatten
from neo.engines.tvm.ir.patterns import CONCATENATION
from neo.engines.tvm.tvm_private import FUSION_PATTERN, OPAQUE, tvm_lowers

FLOAT = "float32"
# elements of the narrowest type in the widest vector register
WIDEST_VECTOR = 64
# elements of float32 in it
WIDEST_ROW = 16
# exponents that a square root is enough for
ROOTS = (0.5, -0.5)
PRODUCTS = (1, 2, 3, 4, -1, -2)


def sigmoid(x: te.Tensor) -> te.Tensor:
    """1 / (1 + exp(-x))"""
    exponential = topi.fast_exp(topi.negative(x))
    one = tirx.const(1, FLOAT)
    return te.compute(x.shape, lambda *at: one / (one + exponential(*at)), name="sigmoid")


def silu(x: te.Tensor) -> te.Tensor:
    """X * sigmoid(x), also called swish."""
    return topi.multiply(x, sigmoid(x))


def erf(x: te.Tensor) -> te.Tensor:
    """Like ``topi.fast_erf``, but NaN stays NaN."""
    return te.compute(x.shape, lambda *at: activations.erf(x(*at)), name="erf")


def _elementwise(function: Callable[[te.Tensor], te.Tensor]) -> Callable[[Any, Any], Any]:
    def legalize(builder: Any, call: relax.Call) -> Any:
        if str(call.args[0].ty.dtype) != FLOAT:
            return call
        return builder.call_te(function, call.args[0])

    return legalize


def _softmax(builder: Any, call: relax.Call) -> Any:
    x, rank = call.args[0], len(call.ty.shape)
    if str(x.ty.dtype) != FLOAT:
        return call
    axis, columns = int(call.attrs.axis) % rank, call.ty.shape[-1]
    is_odd = isinstance(columns, tirx.IntImm) and int(columns) > WIDEST_ROW and int(columns) % WIDEST_ROW > 0
    if axis == rank - 1 and is_odd:
        return builder.call_te(softmax_of_odd_rows, x, primfunc_name_hint="softmax")
    shape = [int(dim) for dim in call.ty.shape] if all(isinstance(dim, tirx.IntImm) for dim in call.ty.shape) else []
    if axis == rank - 1 or not shape:
        return builder.call_te(topi.nn.fast_softmax, x, axis)
    columns = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
    flat = builder.emit_te(topi.reshape, x, columns)
    result = builder.emit_te(topi.nn.fast_softmax, flat, 1, primfunc_attrs={FUSION_PATTERN: OPAQUE})
    return builder.call_te(topi.reshape, result, shape)


def softmax_of_odd_rows(x: te.Tensor) -> te.Tensor:
    """Softmax over the last axis. Rows are padded with columns to whole vectors if no vector length divides them."""
    *lead, columns = (int(dim) for dim in x.shape)
    wide = -(-columns // WIDEST_ROW) * WIDEST_ROW
    lowest = tirx.min_value(FLOAT)

    def value(*at: tirx.Var) -> Any:
        return tirx.if_then_else(at[-1] < columns, x(*at), lowest)

    padded = te.compute((*lead, wide), value, name="softmax_padded")
    k, j = te.reduce_axis((0, wide), name="k"), te.reduce_axis((0, wide), name="j")
    largest = te.compute(tuple(lead), lambda *at: te.max(padded(*at, k), axis=k), name="softmax_largest")
    shifted = te.compute((*lead, wide), lambda *at: padded(*at) - largest(*at[:-1]), name="softmax_shifted")
    powers = topi.fast_exp(shifted)

    def counted(*at: tirx.Var) -> Any:
        return tirx.if_then_else(at[-1] < columns, powers(*at), tirx.const(0, FLOAT))

    counts = te.compute((*lead, wide), counted, name="softmax_powers")
    total = te.compute(tuple(lead), lambda *at: te.sum(counts(*at, j), axis=j), name="softmax_total")
    shares = te.compute((*lead, wide), lambda *at: counts(*at) / total(*at[:-1]), name="softmax_shares")
    return te.compute((*lead, columns), shares, name="softmax")


def concatenated(parts: list[te.Tensor], axis: int) -> te.Tensor:
    """Concatenation along the axis. If all parts consist of whole vectors, the part is selected by the index of the
    vector, not of the element: TVM then sees that the condition is the same for a whole vector, and vectorises the
    copy.
    """
    sizes = [int(part.shape[axis]) for part in parts]
    ends = list(itertools.accumulate(sizes))
    step = math.gcd(*sizes, WIDEST_VECTOR)

    def value(*at: tirx.Var) -> Any:
        elements = [
            part(*at[:axis], at[axis] - (end - size), *at[axis + 1 :])
            for part, size, end in zip(parts, sizes, ends, strict=True)
        ]
        chosen = elements[-1]
        for element, end in reversed(list(zip(elements[:-1], ends[:-1], strict=True))):
            chosen = tirx.if_then_else(at[axis] // step < end // step, element, chosen)
        return chosen

    shape = [*parts[0].shape[:axis], ends[-1], *parts[0].shape[axis + 1 :]]
    return te.compute(shape, value, name="concatenate")


def _concat(builder: Any, call: relax.Call) -> Any:
    parts, axis = call.args[0], call.attrs.axis
    fields = list(parts.fields) if isinstance(parts, relax.Tuple) else []
    fixed = all(isinstance(dim, tirx.IntImm) and int(dim) > 0 for part in fields for dim in part.ty.shape)
    if axis is None or not fields or not fixed:
        return tvm_lowers(builder, call)
    axis = int(axis) % len(call.ty.shape)
    says = {CONCATENATION: axis}
    return builder.call_te(concatenated, fields, axis, primfunc_name_hint="concatenate", primfunc_attrs=says)


def reshaped(x: te.Tensor, shape: list[int]) -> te.Tensor:
    """A reshape. Leading dimensions that do not change keep their indices: TVM cannot simplify them back if they are
    computed from one flat index.
    """
    before = [int(size) for size in x.shape]
    same = next((i for i, sizes in enumerate(zip(before, shape, strict=False)) if sizes[0] != sizes[1]), None)
    lead = min(len(before), len(shape)) if same is None else same

    def value(*at: tirx.Var) -> Any:
        return x(*at[:lead], *unflatten(flatten(at[lead:], shape[lead:]), before[lead:]))

    return te.compute(shape, value, name="reshape")


def _reshape(builder: Any, call: relax.Call) -> Any:
    dims = [*call.args[0].ty.shape, *call.ty.shape]
    if not all(isinstance(dim, tirx.IntImm) and int(dim) > 0 for dim in dims):
        return tvm_lowers(builder, call)
    return builder.call_te(reshaped, call.args[0], [int(dim) for dim in call.ty.shape], primfunc_name_hint="reshape")


def part(x: te.Tensor, axis: int, begin: int, end: int) -> te.Tensor:
    """The slice [begin, end) along the axis."""
    shape = [*x.shape[:axis], end - begin, *x.shape[axis + 1 :]]
    return te.compute(shape, lambda *at: x(*at[:axis], at[axis] + begin, *at[axis + 1 :]), name="part")


def _split(builder: Any, call: relax.Call) -> Any:
    """Slices, each a function of its own, so that it fuses with its readers."""
    x, axis = call.args[0], int(call.attrs.axis) % len(call.args[0].ty.shape)
    sizes = [field.shape[axis] for field in call.ty.fields]
    if not all(isinstance(size, tirx.IntImm) for size in sizes):
        return tvm_lowers(builder, call)
    ends = list(itertools.accumulate(int(size) for size in sizes))
    spans = zip([0, *ends], ends, strict=False)
    return relax.Tuple([builder.emit_te(part, x, axis, *span, primfunc_name_hint="split") for span in spans])


def _root(x: Any) -> Any:
    return tirx.abs(tirx.sqrt(x))


def power(x: te.Tensor, exponent: float) -> te.Tensor:
    """exponent: in ROOTS or PRODUCTS."""

    def value(*at: tirx.Var) -> Any:
        if exponent in ROOTS:
            # sqrt(-0) is -0 but (-0)**0.5 is 0; sqrt(-inf) is NaN but (-inf)**0.5 is inf
            root = tirx.Select(x(*at) == tirx.const(-math.inf, FLOAT), tirx.const(math.inf, FLOAT), _root(x(*at)))
            return root if exponent > 0 else tirx.const(1, FLOAT) / root
        product = functools.reduce(operator.mul, [x(*at)] * int(abs(exponent)))
        return product if exponent > 0 else tirx.const(1, FLOAT) / product

    return te.compute(x.shape, value, name="power")


def _power(builder: Any, call: relax.Call) -> Any:
    """Without a call of the C library's pow for each element, for the exponents that allow it."""
    x, exponents = call.args[0], constant_of(call.args[1], builder)
    exponent = float(exponents.reshape(())) if exponents is not None and exponents.size == 1 else None
    is_plain = exponents is not None and exponents.ndim <= len(x.ty.shape) and str(x.ty.dtype) == FLOAT
    if not is_plain or exponent not in (*ROOTS, *PRODUCTS):
        return tvm_lowers(builder, call)
    return builder.call_te(power, x, exponent, primfunc_name_hint="power")


def _take(builder: Any, call: relax.Call) -> Any:
    return builder.call_te(topi.take, call.args[0], call.args[1], call.attrs.axis, mode="clip")


# Relax operator -> its lowering rule
FUNCTIONS = {
    "relax.concat": _concat,
    "relax.exp": _elementwise(topi.fast_exp),
    "relax.sigmoid": _elementwise(sigmoid),
    "relax.nn.silu": _elementwise(silu),
    "relax.tanh": _elementwise(topi.fast_tanh),
    "relax.erf": _elementwise(erf),
    "relax.nn.softmax": _softmax,
    "relax.power": _power,
    "relax.reshape": _reshape,
    "relax.split": _split,
    "relax.take": _take,
}

"""What the operators of ``ir.extremes`` become: the fewest instructions that keep NaN.

AArch64 has one. x86 has one that answers with its second operand if either is NaN: with a bound that is a number as the
first, it is enough. Of two unknown numbers both orders are computed, of which one is NaN; with all bits of the other it
still is. Of numbers both orders have the same bits, or are zeros.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tvm
from tvm import tirx

from neo.engines.tvm.ir.extremes import LARGER, SMALLER
from neo.engines.tvm.tvm_private import lower_operator

# a TensorIR expression; tvm has no types
Scalar = Any


def _lower(extreme: Callable[[Scalar, Scalar], Scalar], of_arm: str) -> Callable[[tirx.Call], Scalar]:
    def lower(call: tirx.Call) -> Scalar:
        dtype, (a, b) = str(call.ty.dtype), call.args
        if _is_arm():
            return tirx.call_llvm_pure_intrin(dtype, of_arm, a, b)
        if _is_number(b):
            return extreme(b, a)
        if _is_number(a):
            return extreme(a, b)
        # names, for in a long chain every operand is such an expression again
        first, second = (tirx.Var(name, value.ty) for name, value in zip("ab", (a, b), strict=True))
        bits = dtype.replace("float", "uint")
        orders = [tirx.reinterpret(bits, extreme(*pair)) for pair in ((first, second), (second, first))]
        result = tirx.reinterpret(dtype, orders[0] | orders[1])
        return tirx.Let(first, a, tirx.Let(second, b, result))

    return lower


def _is_number(x: Scalar) -> bool:
    """Is it a constant, and not NaN?"""
    value = x.value if isinstance(x, tirx.Broadcast) else x
    return isinstance(value, tirx.FloatImm) and not math.isnan(value.value)


def _is_arm() -> bool:
    """Of the target that code is made for; without one, of none that is known."""
    target = tvm.target.Target.current(allow_none=True)
    return target is not None and str(target.attrs.get("mtriple", "")).startswith("aarch64")


lower_operator(LARGER, _lower(tirx.max, "llvm.maximum"))
lower_operator(SMALLER, _lower(tirx.min, "llvm.minimum"))

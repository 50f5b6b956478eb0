"""Lowering of the operators of ``ir.extremes``: the fewest instructions that propagate NaN.

AArch64 has such an instruction. That of x86 returns its second operand if either is NaN. If one operand is a constant
and not NaN, it is enough to pass that one first. Otherwise max(a, b) and max(b, a) are computed and their bits or-ed:
if an operand is NaN, so is one of the two results, and a NaN with further bits set stays NaN. If not, both results have
the same bits, or are zeros of different sign.
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
        # each operand is used twice: without variables, expressions would double with each link of a chain
        first, second = (tirx.Var(name, value.ty) for name, value in zip("ab", (a, b), strict=True))
        bits = dtype.replace("float", "uint")
        orders = [tirx.reinterpret(bits, extreme(*pair)) for pair in ((first, second), (second, first))]
        result = tirx.reinterpret(dtype, orders[0] | orders[1])
        return tirx.Let(first, a, tirx.Let(second, b, result))

    return lower


def _is_number(x: Scalar) -> bool:
    """Is it a constant other than NaN?"""
    value = x.value if isinstance(x, tirx.Broadcast) else x
    return isinstance(value, tirx.FloatImm) and not math.isnan(value.value)


def _is_arm() -> bool:
    """Is the current target an Arm processor? False if there is no current target."""
    target = tvm.target.Target.current(allow_none=True)
    return target is not None and str(target.attrs.get("mtriple", "")).startswith("aarch64")


lower_operator(LARGER, _lower(tirx.max, "llvm.maximum"))
lower_operator(SMALLER, _lower(tirx.min, "llvm.minimum"))

"""The larger and the smaller of two numbers: NaN if either is NaN.

``tirx.max(a, b)`` is ``a if a > b else b``. Comparisons with NaN are false, so if either operand is NaN the result is
the second one, whichever that is. The operators here propagate NaN, as numpy, torch and ONNX do. Each backend lowers
them to its cheapest instructions.
"""

from __future__ import annotations

import math
from typing import Any

from tvm import te, tirx

from neo.engines.tvm.tvm_private import allow_vectors, declare_operator

# a TensorIR expression; tvm has no types
Scalar = Any

LARGER, SMALLER = "tirx.neo_larger", "tirx.neo_smaller"


def larger(a: Scalar, b: Scalar) -> Scalar:
    return tirx.call_intrin(a.ty.dtype, LARGER, a, b)


def smaller(a: Scalar, b: Scalar) -> Scalar:
    return tirx.call_intrin(a.ty.dtype, SMALLER, a, b)


# identity elements: -inf for the largest, inf for the smallest
largest = te.comm_reducer(larger, lambda dtype: tirx.const(-math.inf, dtype), "largest")
smallest = te.comm_reducer(smaller, lambda dtype: tirx.const(math.inf, dtype), "smallest")

declare_operator(LARGER, 2)
declare_operator(SMALLER, 2)
# TVM does not mark it as vectorisable, though LLVM vectorises it
allow_vectors("tirx.isnan")

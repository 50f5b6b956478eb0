"""The larger and the smaller of two numbers: NaN if either is NaN.

``tirx.max(a, b)`` is ``a if a > b else b``. No comparison with NaN is true, so that of a NaN and a number it is always
the second, whichever that is. These operators are what numpy, torch and ONNX mean; a processor's lowering knows the
cheapest instructions for them.
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


# of nothing the largest is -inf
largest = te.comm_reducer(larger, lambda dtype: tirx.const(-math.inf, dtype), "largest")
smallest = te.comm_reducer(smaller, lambda dtype: tirx.const(math.inf, dtype), "smallest")

declare_operator(LARGER, 2)
declare_operator(SMALLER, 2)
# LLVM has it for vectors
allow_vectors("tirx.isnan")

"""Which kernels are the same, in whatever model and under whatever name."""

from __future__ import annotations

import hashlib

import tvm
import tvm_ffi


def signature(function: tvm.tirx.PrimFunc, packable: frozenset[int]) -> str:
    """Of a function before it is scheduled: sha256, hexadecimal, of its loops and expressions with their shapes and
    dtypes, and of the parameters that may be packed.

    Names of functions, loops and buffers are left out, and weights are parameters, not values. Stable for one version
    of TVM. TVM's own hash has 64 bits: two kernels may have one signature, so a configuration is held against its
    function before it is used.
    """
    for name in dict(function.attrs or {}):
        function = function.without_attr(name)
    facts = f"{tvm_ffi.structural_hash(function)} {operands(function)} {sorted(packable)}"
    return hashlib.sha256(facts.encode()).hexdigest()


def operands(function: tvm.tirx.PrimFunc) -> str:
    """For people: "float32[1,56,56,64] float32[1,1,64,256] float32[1,56,56,256]"; the last are the results."""
    return " ".join(f"{p.dtype}[{','.join(str(int(dim)) for dim in p.shape)}]" for p in function.params)

"""Which kernels are the same, in whatever model and under whatever name."""

from __future__ import annotations

import hashlib

import tvm
import tvm_ffi


def signature(function: tvm.tirx.PrimFunc, packable: frozenset[int]) -> str:
    """SHA-256, in hexadecimal, of an unscheduled function's loops and expressions with their shapes and dtypes, and of
    the parameters that may be packed.

    Names of functions, loops and buffers do not count, and weights are parameters, so their values do not either. The
    signature is stable within one version of TVM. It is made from TVM's structural hash, which has 64 bits: collisions
    are possible, so a configuration is checked against its function before use.
    """
    for name in dict(function.attrs or {}):
        function = function.without_attr(name)
    facts = f"{tvm_ffi.structural_hash(function)} {operands(function)} {sorted(packable)}"
    return hashlib.sha256(facts.encode()).hexdigest()


def operands(function: tvm.tirx.PrimFunc) -> str:
    """For people: "float32[1,56,56,64] float32[1,1,64,256] float32[1,56,56,256]"; the last are the results."""
    return " ".join(f"{p.dtype}[{','.join(str(int(dim)) for dim in p.shape)}]" for p in function.params)

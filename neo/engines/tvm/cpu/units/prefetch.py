"""The prefetch instruction, which TensorIR does not have."""

from __future__ import annotations

from typing import Any

from tvm import tirx

_FETCH = "neo_prefetch"
# LLVM IR that the loops call. Arguments of llvm.prefetch: for reading, into all cache levels, data
HELPERS = f"""
declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
define linkonce_odr i32 @{_FETCH}(ptr %place) alwaysinline {{
  call void @llvm.prefetch.p0(ptr %place, i32 0, i32 3, i32 1)
  ret i32 0
}}"""


def fetch(address: Any) -> tirx.Stmt:
    """Prefetch the cache line of the address. Never faults, even if the address is invalid."""
    return tirx.Evaluate(tirx.call_extern("int32", _FETCH, address))

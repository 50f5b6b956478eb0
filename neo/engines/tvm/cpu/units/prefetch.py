"""The prefetch instruction, for which TVM's language has no word."""

from __future__ import annotations

from typing import Any

from tvm import tirx

_FETCH = "neo_prefetch"
# functions in LLVM's language that the loops call: to read, into all caches, of data
HELPERS = f"""
declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
define linkonce_odr i32 @{_FETCH}(ptr %place) alwaysinline {{
  call void @llvm.prefetch.p0(ptr %place, i32 0, i32 3, i32 1)
  ret i32 0
}}"""


def fetch(address: Any) -> tirx.Stmt:
    """Ask for the cache line that the address is in. Never faults, whatever the address."""
    return tirx.Evaluate(tirx.call_extern("int32", _FETCH, address))

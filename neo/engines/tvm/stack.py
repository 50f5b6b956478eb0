"""Keep a kernel's tile of results on the stack, where LLVM makes registers of it.

TVM puts every buffer of a kilobyte and more on its heap: a call for each tile, and then a store and a load for every
register. Buffers of scope "local" are tiles that were sized to fit the registers, so they are left alone.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import s_tir, tirx

PIPELINE = "neo"
LOCAL = "local"
# what LowerTVMBuiltin looks for
_LEAVE_ALONE = "disable_lower_builtin"


@tvm.tirx.transform.prim_func_pass(opt_level=0)  # type: ignore[untyped-decorator]  # tvm has no types
def keep_tiles_on_stack(function: tirx.PrimFunc, _module: tvm.IRModule, _context: Any) -> tirx.PrimFunc:
    """To be run before LowerTVMBuiltin."""
    return function.with_body(_kept(function.body))


def _kept(statement: tirx.Stmt) -> tirx.Stmt:
    """TVM 0.27 has no visitor of statements for Python; these are the kinds that hold others."""
    if isinstance(statement, tirx.AllocBuffer) and statement.buffer.scope() == LOCAL:
        return tirx.AllocBuffer(statement.buffer, {**statement.annotations, _LEAVE_ALONE: tirx.IntImm("bool", 1)})
    if isinstance(statement, tirx.SeqStmt):
        return tirx.SeqStmt([_kept(part) for part in statement.seq])
    if isinstance(statement, tirx.For):
        return tirx.For(
            statement.loop_var,
            statement.min,
            statement.extent,
            statement.kind,
            _kept(statement.body),
            statement.thread_binding,
            statement.annotations,
        )
    if isinstance(statement, tirx.AttrStmt):
        return tirx.AttrStmt(statement.node, statement.attr_key, statement.value, _kept(statement.body))
    if isinstance(statement, tirx.IfThenElse):
        otherwise = None if statement.else_case is None else _kept(statement.else_case)
        return tirx.IfThenElse(statement.condition, _kept(statement.then_case), otherwise)
    return statement


def _pipeline() -> tuple[Any, Any, Any]:
    passes, finalize_host, finalize_device = s_tir.pipeline.default_s_tir_pipeline()
    return passes, lambda: tvm.transform.Sequential([keep_tiles_on_stack, finalize_host()]), finalize_device


tirx.compilation_pipeline.register_tir_pipeline(PIPELINE, _pipeline)

"""Passes of ours on TensorIR that is nearly machine code, between TVM's own.

- Keep a kernel's tile of results on the stack, where LLVM makes registers of it. TVM puts every buffer of a kilobyte
  and more on its heap: a call for each tile, and then a store and a load for every register. Buffers of scope "local"
  are tiles that were sized to fit the registers, so they are left alone.
- Add a product of pairs to its sum in one instruction. A reduction says ``sum = sum + dot(x, w)``; the processor has
  ``sum = dot_add(sum, x, w)``, which LLVM would not find by itself: it rounds otherwise.
- Fetch weights before they are needed (``prefetch.py``).
- Let threads share the steps of parallel loops (``sharing.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
from tvm import s_tir, tirx

from neo.engines.tvm import prefetch, sharing
from neo.engines.tvm.bfloat16 import UNITS, Unit
from neo.engines.tvm.schedules import transpose

LOCAL = "local"
# functions in LLVM's language that kernels may call
HELPERS = (sharing.HELPERS, prefetch.HELPERS, transpose.HELPERS)
# what LowerTVMBuiltin looks for
_LEAVE_ALONE = "disable_lower_builtin"
_DOT_ADD = {unit.dot: unit.dot_add for unit in UNITS.values()}

Leaf = Callable[[tirx.Stmt], tirx.Stmt]


def _kept(statement: tirx.Stmt) -> tirx.Stmt:
    if isinstance(statement, tirx.AllocBuffer) and statement.buffer.scope() == LOCAL:
        return tirx.AllocBuffer(statement.buffer, {**statement.annotations, _LEAVE_ALONE: tirx.IntImm("bool", 1)})
    return statement


def _added(statement: tirx.Stmt) -> tirx.Stmt:
    if not isinstance(statement, tirx.BufferStore) or not isinstance(statement.value, tirx.Add):
        return statement
    for total, product in (
        (statement.value.a, statement.value.b),
        (statement.value.b, statement.value.a),
    ):
        name = getattr(getattr(product, "op", None), "name", "")
        if name in _DOT_ADD:
            added = tirx.call_intrin(product.ty.dtype, _DOT_ADD[name], total, *product.args)
            return tirx.BufferStore(statement.buffer, added, statement.indices)
    return statement


def _rewritten(statement: tirx.Stmt, leaf: Leaf) -> tirx.Stmt:
    """TVM 0.27 has no visitor of statements for Python; these are the kinds that hold others."""
    if isinstance(statement, tirx.SeqStmt):
        return tirx.SeqStmt([_rewritten(part, leaf) for part in statement.seq])
    if isinstance(statement, tirx.For):
        return leaf(_with_body(statement, _rewritten(statement.body, leaf)))
    if isinstance(statement, tirx.AttrStmt):
        return tirx.AttrStmt(statement.node, statement.attr_key, statement.value, _rewritten(statement.body, leaf))
    if isinstance(statement, tirx.IfThenElse):
        otherwise = None if statement.else_case is None else _rewritten(statement.else_case, leaf)
        return tirx.IfThenElse(statement.condition, _rewritten(statement.then_case, leaf), otherwise)
    return leaf(statement)


def _with_body(loop: tirx.For, body: tirx.Stmt) -> tirx.For:
    return tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, body, loop.thread_binding, loop.annotations)


def pipeline_of(unit: Unit | None, threads: int) -> str:
    """Under which name it is registered. unit: what multiplies bfloat16, if anything does. threads: of the target."""
    name = f"neo-{'fp32' if unit is None else unit.name}-{threads}"
    helpers = tvm.ir.StringImm("\n".join([*HELPERS, "" if unit is None else unit.helpers]))

    @tvm.tirx.transform.prim_func_pass(opt_level=0)  # type: ignore[untyped-decorator]
    def ours(function: tirx.PrimFunc, _module: tvm.IRModule, _context: Any) -> tirx.PrimFunc:
        def leaf(statement: tirx.Stmt) -> tirx.Stmt:
            return sharing.shared(prefetch.fetching(_added(_kept(statement))), threads)

        body = _rewritten(function.body, leaf)
        return function.with_body(tirx.AttrStmt(tirx.const(0), "pragma_import_llvm", helpers, body))

    def pipeline() -> tuple[Any, Any, Any]:
        passes, finalize_host, finalize_device = s_tir.pipeline.default_s_tir_pipeline()
        return passes, lambda: tvm.transform.Sequential([ours, finalize_host()]), finalize_device

    tirx.compilation_pipeline.register_tir_pipeline(name, pipeline)
    return name

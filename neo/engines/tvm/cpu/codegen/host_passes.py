"""One pass of ours over lowered TensorIR, the last one before TVM's builtins become calls.

- Register tiles, which are buffers of scope "local", are allocated on the stack, from where LLVM promotes them to
  registers. TVM would allocate buffers of a kilobyte and more on its heap: a call for each tile, and a store and a load
  for each register.
- ``sum + dot(x, w)`` becomes ``dot_add(sum, x, w)``, one instruction. LLVM may not combine them by itself, because the
  instruction rounds differently.
- Weights are prefetched (``prefetch.py``).
- Threads share the iterations of parallel loops (``sharing.py``), except in parallel regions, whose loops are divided
  statically. TVM hoists the temporaries of such a region out of it, where all threads would write to the same memory;
  they are moved back, so that each thread has its own.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import tirx

from neo.engines.tvm.cpu.codegen import prefetch, sharing
from neo.engines.tvm.cpu.lowering.transpose import HELPERS as TRANSPOSES
from neo.engines.tvm.cpu.units import extremes  # noqa: F401  # registers the lowering of its operators
from neo.engines.tvm.cpu.units.bfloat16 import UNITS, Unit
from neo.engines.tvm.cpu.units.prefetch import HELPERS as PREFETCHES
from neo.engines.tvm.ir.expressions import with_body
from neo.engines.tvm.tvm_private import (
    PARALLEL_REGION,
    is_called_plainly,
    on_cpu,
    on_stack,
    register_pipeline,
    with_llvm_source,
)

LOCAL = "local"
# LLVM IR functions that kernels may call
HELPERS = (sharing.HELPERS, PREFETCHES, TRANSPOSES)
_DOT_ADD = {unit.dot: unit.dot_add for unit in UNITS.values()}


def _kept(statement: tirx.Stmt) -> tirx.Stmt:
    if _is_temporary(statement):
        return on_stack(statement)
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


def _rewritten(statement: tirx.Stmt, threads: int, temporaries: tuple[tirx.Stmt, ...] = ()) -> tirx.Stmt:
    """threads: number that share parallel loops. temporaries: allocations to be moved into the parallel regions inside.

    TVM 0.27 has no statement visitor in Python: this handles the kinds that contain others.
    """
    if isinstance(statement, tirx.SeqStmt):
        parts = list(statement.seq)
        if _has_region(statement):
            temporaries += tuple(filter(_is_temporary, parts))
            parts = [part for part in parts if not _is_temporary(part)]
        return tirx.SeqStmt([_rewritten(part, threads, temporaries) for part in parts])
    if isinstance(statement, tirx.For):
        loop = with_body(statement, _rewritten(statement.body, threads, temporaries))
        return sharing.shared(prefetch.fetching(loop), threads)
    if isinstance(statement, tirx.AttrStmt):
        if _is_region(statement):
            body = tirx.SeqStmt([*(_kept(one) for one in temporaries), _rewritten(statement.body, 1)])
        else:
            body = _rewritten(statement.body, threads, temporaries)
        return tirx.AttrStmt(statement.node, statement.attr_key, statement.value, body)
    if isinstance(statement, tirx.IfThenElse):
        then, otherwise = (
            None if case is None else _rewritten(case, threads, temporaries)
            for case in (statement.then_case, statement.else_case)
        )
        return tirx.IfThenElse(statement.condition, then, otherwise)
    return _added(_kept(statement))


def _is_region(statement: tirx.Stmt) -> bool:
    return isinstance(statement, tirx.AttrStmt) and statement.attr_key == PARALLEL_REGION


def _has_region(statement: Any) -> bool:
    if isinstance(statement, tirx.SeqStmt):
        return any(map(_has_region, statement.seq))
    return statement is not None and (_is_region(statement) or _has_region(getattr(statement, "body", None)))


def _is_temporary(statement: tirx.Stmt) -> bool:
    return isinstance(statement, tirx.AllocBuffer) and statement.buffer.scope() == LOCAL


def pipeline_of(unit: Unit | None, threads: int) -> str:
    """Register TVM's pipeline with our pass; -> its name. unit: multiplies bfloat16; None: nothing does. threads: those
    of the target.
    """
    name = f"neo-{'fp32' if unit is None else unit.name}-{threads}"
    helpers = "\n".join([*HELPERS, "" if unit is None else unit.helpers])

    @tvm.tirx.transform.prim_func_pass(opt_level=0)  # type: ignore[untyped-decorator]
    def ours(function: tirx.PrimFunc, _module: tvm.IRModule, _context: Any) -> tirx.PrimFunc:
        body = on_cpu(_rewritten(function.body, threads))
        if is_called_plainly(function):
            # added last, because buffers are freed at the end of the body, which an earlier return would skip
            body = tirx.SeqStmt([body, tirx.Return(tirx.const(0, "int32"))])
        return function.with_body(with_llvm_source(helpers, body))

    register_pipeline(name, ours)
    return name

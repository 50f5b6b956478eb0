"""Passes of ours on TensorIR that is nearly machine code, between TVM's own.

- Keep a kernel's tile of results on the stack, where LLVM makes registers of it. TVM puts every buffer of a kilobyte
  and more on its heap: a call for each tile, and then a store and a load for every register. Buffers of scope "local"
  are tiles that were sized to fit the registers, so they are left alone.
- Add a product of pairs to its sum in one instruction. A reduction says ``sum = sum + dot(x, w)``; the processor has
  ``sum = dot_add(sum, x, w)``, which LLVM would not find by itself: it rounds otherwise.
- Fetch weights before they are needed (``prefetch.py``).
- Let threads share the steps of parallel loops (``sharing.py``), except in regions that every thread runs for itself:
  their loops are cut into parts that a thread keeps. TVM puts the temporaries of such a region in front of everything,
  where all threads would write to the same ones; they are moved back.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import s_tir, tirx

from neo.engines.tvm.cpu.codegen import prefetch, sharing
from neo.engines.tvm.cpu.schedules import transpose
from neo.engines.tvm.cpu.units import extremes  # noqa: F401  # says what its operators become
from neo.engines.tvm.cpu.units.bfloat16 import UNITS, Unit
from neo.engines.tvm.ir.expressions import with_body

LOCAL = "local"
# functions in LLVM's language that kernels may call
HELPERS = (sharing.HELPERS, prefetch.HELPERS, transpose.HELPERS)
# what LowerTVMBuiltin looks for
_LEAVE_ALONE = "disable_lower_builtin"
_DOT_ADD = {unit.dot: unit.dot_add for unit in UNITS.values()}

# where temporaries are allocated, which functions that are called from outside hear from their arguments; 1 is DLPack's
# number of the CPU
_DEVICE = {"device_type": 1, "device_id": 0}

# how a function is called of which TVM shall not make one that is called with tensors. It returns 0, as TVM's do
AS_IT_IS = 1

# marks a region that every thread runs, and a part of it at whose end they wait for each other
REGION, BARRIER = "pragma_parallel_launch_point", "pragma_parallel_barrier_when_finish"


def _kept(statement: tirx.Stmt) -> tirx.Stmt:
    if _is_temporary(statement):
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


def _rewritten(statement: tirx.Stmt, threads: int, temporaries: tuple[tirx.Stmt, ...] = ()) -> tirx.Stmt:
    """threads: that share parallel loops. temporaries: for the regions inside. TVM 0.27 has no visitor of statements
    for Python; these are the kinds that hold others.
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
    return isinstance(statement, tirx.AttrStmt) and statement.attr_key == REGION


def _has_region(statement: Any) -> bool:
    if isinstance(statement, tirx.SeqStmt):
        return any(map(_has_region, statement.seq))
    return statement is not None and (_is_region(statement) or _has_region(getattr(statement, "body", None)))


def _is_temporary(statement: tirx.Stmt) -> bool:
    return isinstance(statement, tirx.AllocBuffer) and statement.buffer.scope() == LOCAL


def pipeline_of(unit: Unit | None, threads: int) -> str:
    """Under which name it is registered. unit: what multiplies bfloat16, if anything does. threads: of the target."""
    name = f"neo-{'fp32' if unit is None else unit.name}-{threads}"
    helpers = tvm.ir.StringImm("\n".join([*HELPERS, "" if unit is None else unit.helpers]))

    @tvm.tirx.transform.prim_func_pass(opt_level=0)  # type: ignore[untyped-decorator]
    def ours(function: tirx.PrimFunc, _module: tvm.IRModule, _context: Any) -> tirx.PrimFunc:
        body = _rewritten(function.body, threads)
        for name, value in _DEVICE.items():
            body = tirx.AttrStmt(tvm.ir.StringImm("default"), name, tirx.const(value), body)
        if int((function.attrs or {}).get("calling_conv", 0)) == AS_IT_IS:
            # only now: what is allocated among the statements before it is given back in front of it
            body = tirx.SeqStmt([body, tirx.Return(tirx.const(0, "int32"))])
        return function.with_body(tirx.AttrStmt(tirx.const(0), "pragma_import_llvm", helpers, body))

    def pipeline() -> tuple[Any, Any, Any]:
        passes, finalize_host, finalize_device = s_tir.pipeline.default_s_tir_pipeline()
        return passes, lambda: tvm.transform.Sequential([ours, finalize_host()]), finalize_device

    tirx.compilation_pipeline.register_tir_pipeline(name, pipeline)
    return name

"""The sequence of a model's kernel calls, as one function of machine code.

``steps(table, first, last)`` makes the calls of that range. table: addresses, in the slots of ``planning/calls.py``. A
kernel is called with the plain C calling convention, without tensor objects and checks. TVM's virtual machine would
allocate a tensor for each result of each run, and each kernel would check the types and shapes of its arguments.

To time a single kernel, pass a range of one call.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import tirx
from tvm.ir import PointerType, PrimType

from neo.engines.tvm.planning.calls import Call, CallPlan, Location, plan_calls
from neo.engines.tvm.planning.stages import AssembledModule
from neo.engines.tvm.tvm_private import aligned, called_plainly, check, direct_call
from neo.runtime.engine_folder import ALIGNMENT_BYTES
from neo.runtime.tvm import STEPS

# keeps names of kernels apart from those of the C library
PREFIX = "kernel_"
ADDRESS, STATUS = "int64", "int32"


def compile_sequence(module: tvm.IRModule, llvm: tvm.target.Target, pipeline: str) -> AssembledModule:
    """module: scheduled. pipeline: name of the TIR pipeline for its kernels. Raises EngineError if ``main`` does
    anything but call kernels.
    """
    module, plan = plan_calls(module, llvm)
    kernels = {variable.name_hint: f for variable, f in module.functions.items() if isinstance(f, tirx.PrimFunc)}
    names = dict.fromkeys(call.kernel for call in plan.calls if call.kernel is not None)
    called = {name: tvm.ir.GlobalVar(f"{PREFIX}{name}") for name in names}
    functions = {variable: _on_addresses(kernels[name], variable.name_hint) for name, variable in called.items()}
    functions[tvm.ir.GlobalVar(STEPS)] = _call_all(plan, called)
    with llvm:  # lowering rules look up the current target
        code = tvm.tirx.build(tvm.IRModule(functions), target=llvm, pipeline=pipeline)
    return AssembledModule(code, plan.constants, plan.kernels, plan.workspace_bytes, plan.outputs)


def _call_all(plan: CallPlan, kernels: dict[str, Any]) -> tirx.PrimFunc:
    addresses = tirx.decl_buffer((plan.workspace_slot + 1,), ADDRESS, "table")
    first, last = tirx.Var("first", ADDRESS), tirx.Var("last", ADDRESS)

    def pointer(location: Location) -> Any:
        slot, offset = plan.address(location)
        return tirx.reinterpret("handle", addresses[slot] + tirx.const(offset, ADDRESS))

    def make(call: Call) -> tirx.Stmt:
        pointers = [pointer(operand) for operand in call.operands]
        if call.kernel is None:
            source, destination = pointers
            size = tirx.const(call.copied, ADDRESS)
            return tirx.Evaluate(tirx.call_extern("handle", "memcpy", destination, source, size))
        status = tirx.Var("status", STATUS)
        called = direct_call(kernels[call.kernel], pointers, STATUS)
        return tirx.SeqStmt([tirx.Bind(status, called), check(status == 0, f"{call.kernel} failed")])

    body = [
        tirx.IfThenElse(tirx.all(first <= index, tirx.const(index, ADDRESS) < last), make(call), None)
        for index, call in enumerate(plan.calls)
    ]
    function = tirx.PrimFunc([addresses, first, last], tirx.SeqStmt([*body, tirx.Evaluate(0)]))
    return function.with_attr({"global_symbol": STEPS, "s_tir": True})


def _on_addresses(kernel: tirx.PrimFunc, symbol: str) -> tirx.PrimFunc:
    """The kernel as a C function of pointers, for callers in the same library. It returns 0 for success."""
    pointers = [tirx.Var(p.name, PointerType(PrimType(str(p.dtype)), "global")) for p in kernel.params]
    # parameters may have a variable as their element offset: here every offset is 0
    offsets = [p.elem_offset for p in kernel.params if isinstance(p.elem_offset, tirx.Var)]
    starts = [tirx.Bind(offset, tirx.const(0, str(offset.ty.dtype))) for offset in offsets]
    buffers = [tirx.DeclBuffer(p, data=pointer) for p, pointer in zip(kernel.params, pointers, strict=True)]
    body = tirx.SeqStmt([*starts, *buffers, kernel.body])
    for pointer in pointers:
        body = aligned(pointer, ALIGNMENT_BYTES, body)
    function = tirx.PrimFunc(pointers, body, PrimType(STATUS), kernel.attrs)
    # external linkage: LLVM would inline all that are called once into one function, and might need minutes for it
    return called_plainly(function.with_attr("global_symbol", symbol))

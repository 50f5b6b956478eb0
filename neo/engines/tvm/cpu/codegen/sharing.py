"""Work stealing between the threads of a parallel loop.

TVM gives every thread an equal part and waits for the slowest, which takes long if the machine is busy or has cores of
two kinds. Here every part is cut into chunks with an atomic counter, and a thread that has finished its own part takes
chunks of others. A thread begins with the same part in every kernel, so that it mostly reads what it wrote itself, from
its core's cache.
"""

from __future__ import annotations

from typing import Any

from tvm import tirx

from neo.engines.tvm.cpu.units.threads import CHUNKS

# each counter has its own cache line, to avoid false sharing
_LINE_INTS = 16

_NEXT = "neo_next_chunk"
# LLVM IR functions that the loops call
HELPERS = f"""
define linkonce_odr i32 @{_NEXT}(ptr %counter) alwaysinline {{
  %chunk = atomicrmw add ptr %counter, i32 1 monotonic
  ret i32 %chunk
}}"""


def shared(loop: tirx.Stmt, threads: int) -> tirx.Stmt:
    """A parallel loop from 0 to a constant, with work stealing. It is correct for any number of threads, and fastest
    for this one. Other statements are returned as they are.
    """
    is_parallel = isinstance(loop, tirx.For) and loop.kind == tirx.ForKind.PARALLEL
    if not is_parallel or threads < 2 or not isinstance(loop.extent, tirx.IntImm) or not _is_zero(loop.min):
        return loop
    steps = int(loop.extent)
    chunks = min(CHUNKS, steps // threads)
    if chunks < 2:
        return loop
    counters = tirx.decl_buffer((threads * _LINE_INTS,), "int32", name="counters")
    zeros = [tirx.BufferStore(counters, _int(0), [_int(thread * _LINE_INTS)]) for thread in range(threads)]
    task, turn = tirx.Var("task", "int32"), tirx.Var("turn", "int32")
    whose = (task + turn) % threads
    taken = tirx.decl_buffer((1,), "int32", name="taken", scope="local")
    take = tirx.BufferStore(taken, _next(counters, whose), [_int(0)])
    chunk = whose * chunks + tirx.BufferLoad(taken, [_int(0)])
    begin, end = (_cast((chunk + one) * steps // (threads * chunks), loop.loop_var) for one in (0, 1))
    body = tirx.For(loop.loop_var, begin, end - begin, tirx.ForKind.SERIAL, loop.body)
    some_left = tirx.BufferLoad(taken, [_int(0)]) < chunks
    part = tirx.SeqStmt([take, tirx.While(some_left, tirx.SeqStmt([body, take]))])
    parts = tirx.SeqStmt([tirx.AllocBuffer(taken), tirx.For(turn, _int(0), _int(threads), tirx.ForKind.SERIAL, part)])
    tasks = tirx.For(task, _int(0), _int(threads), tirx.ForKind.PARALLEL, parts)
    return tirx.SeqStmt([tirx.AllocBuffer(counters), *zeros, tasks])


def _next(counters: Any, thread: Any) -> Any:
    counter = tirx.BufferLoad(counters, [thread * _LINE_INTS])
    return tirx.call_extern("int32", _NEXT, tirx.address_of(counter))


def _cast(value: Any, variable: tirx.Var) -> Any:
    dtype = str(variable.ty.dtype)
    return value if dtype == "int32" else tirx.Cast(dtype, value)


def _int(value: int) -> Any:
    return tirx.const(value, "int32")


def _is_zero(value: Any) -> bool:
    return isinstance(value, tirx.IntImm) and int(value) == 0

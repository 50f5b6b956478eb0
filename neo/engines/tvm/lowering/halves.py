"""Which values between operators are stored as bfloat16.

A value that an operator reads as bfloat16 is stored so for all of its readers: half the memory traffic, and the
rounding becomes a part of what computes the value. So is what such a value is put together from, where that only moves
numbers: rounding before or after is the same. Outputs of the model are never rounded.

In the graph that is an ``encode`` behind the value and a ``decode`` in front of every reader; readers that want
bfloat16 take what ``decode`` would decode, and with the others it fuses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import tvm
from tvm import relax

from neo.engines.tvm.bfloat16 import STORAGE
from neo.engines.tvm.lowering.arithmetic import decode, encode

DECODE = "decode"
# operators of which every output is one of the inputs
MOVING = frozenset(
    f"relax.{name}"
    for name in ("concat", "reshape", "permute_dims", "strided_slice", "expand_dims", "squeeze", "nn.max_pool2d")
)

Reads = Callable[[relax.Call, Any], bool]


def as_stored(builder: Any, value: Any, dtype: str) -> Any:
    """The value as dtype: itself, or its bfloat16."""
    if dtype != STORAGE:
        return value
    bound: Any = builder.lookup_binding(value) if isinstance(value, relax.Var) else None
    if _is_decode(bound):
        return bound.args[1].fields[0]
    return builder.emit_te(encode, value, primfunc_name_hint="encode")


def store_halves(module: tvm.IRModule, reads: Reads) -> tvm.IRModule:
    """reads: does the call read its first argument as bfloat16? It is asked with something that knows bindings."""
    main = module.get_global_var("main")
    finder = _Finder(module, reads)
    finder.visit_expr(module[main])
    storer = _Storer(module, frozenset(finder.stored()))
    storer.builder_.update_func(main, storer.visit_expr(module[main]))
    return storer.builder_.get()


def _is_decode(bound: Any) -> bool:
    is_call = isinstance(bound, relax.Call) and getattr(bound.op, "name", "") == "relax.call_tir"
    return is_call and bound.args[0].name_hint.startswith(DECODE)


def _variables(call: relax.Call) -> Iterable[relax.Var]:
    for argument in call.args:
        for part in argument.fields if isinstance(argument, relax.Tuple) else (argument,):
            if isinstance(part, relax.Var):
                yield part


@relax.expr_functor.mutator
class _Finder(relax.PyExprMutator):  # type: ignore[misc]  # tvm has no types; a mutator, because these know bindings
    def __init__(self, module: tvm.IRModule, reads: Reads) -> None:
        super().__init__(module)
        self._reads = reads
        self._wanted: set[relax.Var] = set()
        self._calls: list[tuple[relax.Var, relax.Call]] = []

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        if isinstance(binding.value, relax.Call):
            self._calls.append((binding.var, binding.value))
            if self._reads(binding.value, self) and isinstance(binding.value.args[0], relax.Var):
                self._wanted.add(binding.value.args[0])
        super().visit_var_binding_(binding)

    def stored(self) -> set[relax.Var]:
        """Variables to store as bfloat16."""
        stored = set(self._wanted)
        for variable, call in reversed(self._calls):
            if variable in stored and getattr(call.op, "name", "") in MOVING:
                stored.update(v for v in _variables(call) if str(getattr(v.ty, "dtype", "")) == "float32")
        # a plain variable is an output of the function or one of its inputs
        return {variable for variable in stored if isinstance(variable, relax.DataflowVar)}


@relax.expr_functor.mutator
class _Storer(relax.PyExprMutator):  # type: ignore[misc]
    def __init__(self, module: tvm.IRModule, stored: frozenset[relax.Var]) -> None:
        super().__init__(module)
        self._stored = stored
        self._halves: dict[relax.Var, relax.Var] = {}

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        super().visit_var_binding_(binding)
        if binding.var in self._stored:
            value = self.visit_expr(binding.var)
            self._halves[binding.var] = self.builder_.emit_te(encode, value, primfunc_name_hint="encode")

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        arguments = [self._read(argument) for argument in call.args]
        return relax.Call(call.op, arguments, call.attrs, call.ty_args)

    def _read(self, argument: relax.Expr) -> relax.Expr:
        if isinstance(argument, relax.Tuple):
            return relax.Tuple([self._read(part) for part in argument.fields])
        half = self._halves.get(argument) if isinstance(argument, relax.Var) else None
        if half is None:
            return self.visit_expr(argument)
        return self.builder_.emit_te(decode, half, primfunc_name_hint=DECODE)

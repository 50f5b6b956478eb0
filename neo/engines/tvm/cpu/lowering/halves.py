"""Which intermediate values are stored as bfloat16.

- A value that an operator reads as bfloat16 is stored so for all of its readers. That halves the memory traffic, and
  the rounding fuses with the function that computes the value.
- So are the inputs of operators that only move elements, if their output is stored so: rounding them gives the same.
- So is a concatenation whose readers all lead, through elementwise operators, to such values. It is the one operator
  between convolutions that is not fused to another kernel.
- Outputs of the model are never rounded.

In the graph, ``encode`` is inserted after the value and ``decode`` before every reader. Readers that want bfloat16 take
the argument of ``decode``; with all others it fuses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import tvm
from tvm import relax

from neo.engines.tvm.cpu.lowering.arithmetic import FLOATS, Arithmetic, decode, encode
from neo.engines.tvm.cpu.units.bfloat16 import STORAGE
from neo.engines.tvm.ir.expressions import name_of

DECODE = "decode"
# operators that move elements of any dtype
MOVING = frozenset(["concat", "reshape", "permute_dims", "strided_slice", "expand_dims", "squeeze"])
# operators whose outputs are elements of their inputs, but which have to compare them
CHOOSING = frozenset(["nn.max_pool2d"])
CONCAT = "concat"
ELEMENTWISE = frozenset(
    ["add", "subtract", "multiply", "divide", "maximum", "minimum", "sigmoid", "nn.relu", "nn.silu"]
)

Reads = Callable[[relax.Call, Any], bool]


def as_stored(builder: Any, value: Any, arithmetic: Arithmetic) -> Any:
    """The value as the arithmetic reads it: as it is, or as bfloat16 with channels padded to the arithmetic's depth."""
    if arithmetic == FLOATS:
        return value
    half = half_of(builder, value)
    if arithmetic.input == STORAGE and half is not None:
        return half
    return builder.emit_te(arithmetic.encode, value, primfunc_name_hint="encode")


def half_of(builder: Any, value: Any) -> Any | None:
    """The value as bfloat16; None if it is not stored so."""
    bound: Any = builder.lookup_binding(value) if isinstance(value, relax.Var) else None
    return bound.args[1].fields[0] if _is_decode(bound) else None


def store_halves(module: tvm.IRModule, reads: Reads) -> tvm.IRModule:
    """reads: (call, object that looks up bindings) -> does the call read its first argument as bfloat16?"""
    main = module.get_global_var("main")
    finder = _Finder(module, reads)
    finder.visit_expr(module[main])
    storer = _Storer(module, frozenset(finder.stored()))
    storer.builder_.update_func(main, storer.visit_expr(module[main]))
    return storer.builder_.get()


def _is_decode(bound: Any) -> bool:
    return name_of(bound) == "call_tir" and str(bound.args[0].name_hint).startswith(DECODE)


def _variables(call: relax.Call) -> Iterable[relax.Var]:
    for argument in call.args:
        for part in argument.fields if isinstance(argument, relax.Tuple) else (argument,):
            if isinstance(part, relax.Var):
                yield part


@relax.expr_functor.mutator
class _Finder(relax.PyExprMutator):  # type: ignore[misc]  # tvm has no types; a mutator, because visitors cannot look up bindings
    def __init__(self, module: tvm.IRModule, reads: Reads) -> None:
        super().__init__(module)
        self._reads = reads
        self._wanted: set[relax.Var] = set()
        self._calls: list[tuple[relax.Var, relax.Call]] = []
        self._readers: dict[relax.Var, list[tuple[relax.Var, str]]] = {}

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        if isinstance(binding.value, relax.Call):
            self._calls.append((binding.var, binding.value))
            for variable in _variables(binding.value):
                self._readers.setdefault(variable, []).append((binding.var, name_of(binding.value)))
            if self._reads(binding.value, self) and isinstance(binding.value.args[0], relax.Var):
                self._wanted.add(binding.value.args[0])
        super().visit_var_binding_(binding)

    def stored(self) -> set[relax.Var]:
        """Variables to store as bfloat16."""
        stored = set(self._wanted)
        # values whose readers are all elementwise and lead to stored values
        leading: set[relax.Var] = set()
        for variable, call in reversed(self._calls):
            readers = self._readers.get(variable, [])
            if readers and all(
                name in ELEMENTWISE and (result in stored or result in leading) for result, name in readers
            ):
                leading.add(variable)
                if name_of(call) == CONCAT:
                    stored.add(variable)
            if variable in stored and name_of(call) in MOVING | CHOOSING:
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
            moved = self._moved(binding.value)
            value = self.visit_expr(binding.var)
            self._halves[binding.var] = (
                self.builder_.emit_te(encode, value, primfunc_name_hint="encode") if moved is None else moved
            )

    def _moved(self, call: relax.Expr) -> relax.Expr | None:
        """The same operator on bfloat16, if it only moves elements and all of its inputs are stored so."""
        if name_of(call) not in MOVING:
            return None
        if not all(variable in self._halves for variable in _variables(call)):
            return None
        arguments = [
            relax.Tuple([self._halves.get(part, part) for part in argument.fields])
            if isinstance(argument, relax.Tuple)
            else self._halves.get(argument, argument)
            for argument in call.args
        ]
        return self.builder_.emit(relax.Call(call.op, arguments, call.attrs))

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

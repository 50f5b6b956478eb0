"""Fewer operators that only move elements: reshapes, permutations, concatenations."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

from neo.engines.tvm.ir.constants import constant_of
from neo.engines.tvm.ir.expressions import name_of, permuted, shape_of
from neo.engines.tvm.ir.indices import axes_of

Array = NDArray[np.float32]

PERMUTATION, SPLIT, CONCATENATION = "permute_dims", "split", "concat"
RESHAPES = ("reshape", "squeeze", "expand_dims")
BINARY = ("add", "subtract", "multiply", "divide")


@relax.expr_functor.mutator
class Regrouped(relax.PyExprMutator):  # type: ignore[misc]  # tvm has no types
    """Consecutive reshapes -> the last one, or none if it restores the first shape.

    If a reshape only adds or removes dimensions of size 1, arithmetic with a constant moves in front of it, so that the
    reshape meets the next one.
    """

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        first: Any = self.lookup_binding(call.args[0]) if call.args and isinstance(call.args[0], relax.Var) else None
        if name_of(first) not in RESHAPES:
            return call
        origin = first.args[0]
        if name_of(call) in RESHAPES:
            return origin if shape_of(origin) == shape_of(call) else relax.op.reshape(origin, shape_of(call))
        array = constant_of(call.args[1], self) if name_of(call) in BINARY else None
        if array is None or shape_of(first) != shape_of(call):
            return call
        shape = shape_of(call)
        moved = _without_ones(array, shape, shape_of(origin))
        if moved is None:
            return call
        result = relax.Call(call.op, [origin, relax.const(moved, str(moved.dtype))], call.attrs)
        return relax.op.reshape(self.builder_.emit(result), shape)


def _without_ones(array: Array, before: tuple[int, ...], after: tuple[int, ...]) -> Array | None:
    """An array that broadcasts to the shape before, reshaped so that it broadcasts to the shape after.

    None if the two shapes differ in more than dimensions of size 1.
    """
    long = [axis for axis, size in enumerate(before) if size > 1]
    if [before[axis] for axis in long] != [size for size in after if size > 1]:
        return None
    whole = array.reshape((1,) * (len(before) - array.ndim) + array.shape)
    sizes = iter([whole.shape[axis] for axis in long])
    return whole.reshape([next(sizes) if size > 1 else 1 for size in after])


@relax.expr_functor.mutator
class Permuted(relax.PyExprMutator):  # type: ignore[misc]
    """Two consecutive permutations -> one, or none."""

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        first: Any = self.lookup_binding(call.args[0]) if call.args and isinstance(call.args[0], relax.Var) else None
        if name_of(call) != PERMUTATION or name_of(first) != PERMUTATION:
            return call
        before = axes_of(first)
        axes = [before[axis] for axis in axes_of(call)]
        return permuted(first.args[0], axes)


@relax.expr_functor.mutator
class Parts(relax.PyExprMutator):  # type: ignore[misc]
    """A split of a concatenation, with reshapes and permutations between them -> each part concatenated and permuted by
    itself, without the whole tensor. ShuffleNet shuffles channels between two branches like this.
    """

    def __init__(self, module: tvm.IRModule) -> None:
        super().__init__(module)
        self._readers: dict[relax.Var, int] = {}

    def visit_function_(self, function: relax.Function) -> relax.Expr:
        for block in function.body.blocks:
            for binding in block.bindings:
                for variable in relax.analysis.free_vars(binding.value):
                    self._readers[variable] = self._readers.get(variable, 0) + 1
        return super().visit_function_(function)

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        origin = call.args[0] if name_of(call) == SPLIT else None
        is_alone = isinstance(origin, relax.Var) and self._readers.get(origin) == 1
        call = self.visit_expr_post_order(call)
        chain = self._chain(call.args[0]) if is_alone else []
        if not chain or name_of(chain[-1]) != CONCATENATION:
            return call
        axis = int(call.attrs.axis) % len(shape_of(call.args[0]))
        ends = list(itertools.accumulate(int(field.shape[axis]) for field in call.ty.fields))
        parts = []
        for begin, end in zip([0, *ends], ends, strict=False):
            whole = self.builder_.emit(chain[-1])
            for step in reversed(chain[:-1]):
                whole = self.builder_.emit(relax.Call(step.op, [whole, *step.args[1:]], step.attrs))
            parts.append(self.builder_.emit(relax.op.strided_slice(whole, [axis], [begin], [end])))
        return relax.Tuple(parts)

    def _chain(self, value: Any) -> list[relax.Call]:
        """The operators from the value back to a concatenation, the last one first."""
        found: list[relax.Call] = []
        while isinstance(value, relax.Var):
            call: Any = self.lookup_binding(value)
            if name_of(call) not in (*RESHAPES, PERMUTATION, CONCATENATION):
                break
            found.append(call)
            value = None if name_of(call) == CONCATENATION else call.args[0]
        return found

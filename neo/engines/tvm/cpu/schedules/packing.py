"""Packing: weights in the order in which their schedule reads them.

In each step of the reduction, a register tile reads as many neighbouring columns of the weights as it is wide. In
panels, [columns / width, ..., width], these reads are one contiguous stream, so TLB and hardware prefetcher work well.
This is the packed operand of Goto and van de Geijn, 2008, but packed at compile time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

from neo.engines.tvm.ir.expressions import name_of

# weights as in the model -> as a kernel reads them
Packing = Callable[[NDArray[Any]], NDArray[Any]]
# function -> parameter -> how it is packed
Packings = Mapping[str, Mapping[int, Packing]]
# function -> parameter -> weights that calls pass there, as indices among the parameters of main after its inputs
Uses = Mapping[str, Mapping[int, frozenset[int]]]


def packable_weights(module: tvm.IRModule) -> Uses:
    """Parameters that only get weights, each of which is used for that parameter of that function only."""
    finder = _UseFinder(module["main"])
    finder.visit_expr(module["main"])
    shared = {weight for weight, found in finder.uses.items() if len(found) != 1}
    uses: dict[str, dict[int, frozenset[int]]] = {}
    for (function, parameter), weights in finder.passed.items():
        known = {weight for weight in weights if weight is not None}
        if len(known) == len(weights) and not known & shared:
            uses.setdefault(function, {})[parameter] = frozenset(known)
    return uses


def pack_weights(
    module: tvm.IRModule, arrays: list[NDArray[Any]], uses: Uses, packings: Packings
) -> tuple[tvm.IRModule, list[NDArray[Any]]]:
    """-> (module whose ``main`` takes packed weights, the packed weights)."""
    packed = list(arrays)
    for function, parameters in packings.items():
        for parameter, packing in parameters.items():
            for weight in uses[function][parameter]:
                packed[weight] = packing(arrays[weight])
    main = module["main"]
    inputs = len(main.params) - len(arrays)
    variables = {
        old: relax.Var(old.name, relax.TensorType(new.shape, str(new.dtype)))
        for old, new, array in zip(main.params[inputs:], packed, arrays, strict=True)
        if new is not array
    }
    # with new global variables: the old ones keep the types of the signatures before packing
    builder = relax.BlockBuilder()
    names = {
        old: builder.add_func(function, old.name_hint)
        for old, function in module.functions.items()
        if old.name_hint != "main"
    }
    body = _Renamer({**variables, **names}).visit_expr(main.body)
    params = [variables.get(param, param) for param in main.params]
    builder.add_func(relax.Function(params, body, main.ret_ty, main.is_pure, main.attrs), "main")
    return builder.get(), packed


def pack(array: NDArray[Any], width: int) -> NDArray[Any]:
    """(..., columns) -> (columns / width, ..., width)"""
    *lead, columns = array.shape
    return np.ascontiguousarray(np.moveaxis(array.reshape(*lead, columns // width, width), -2, 0))


@relax.expr_functor.visitor
class _UseFinder(relax.PyExprVisitor):  # type: ignore[misc]  # tvm has no types
    """uses: weight -> (function, parameter) that it is passed to; None for any other use. passed: the reverse."""

    def __init__(self, main: relax.Function) -> None:
        inputs = int(main.attrs["num_input"])
        self._weights = {variable: index for index, variable in enumerate(main.params[inputs:])}
        self.uses: dict[int, set[tuple[str, int] | None]] = {}
        self.passed: dict[tuple[str, int], set[int | None]] = {}

    def visit_call_(self, call: relax.Call) -> None:
        if name_of(call) != "call_tir":
            for argument in call.args:
                self.visit_expr(argument)
            return
        for position, argument in enumerate(call.args[1].fields):
            weight = self._weights.get(argument) if isinstance(argument, relax.Var) else None
            use = (call.args[0].name_hint, position)
            self.passed.setdefault(use, set()).add(weight)
            if weight is not None:
                self.uses.setdefault(weight, set()).add(use)

    def visit_var_(self, variable: relax.Var) -> None:
        if variable in self._weights:
            self.uses.setdefault(self._weights[variable], set()).add(None)

    def visit_dataflow_var_(self, variable: relax.Var) -> None:
        self.visit_var_(variable)


@relax.expr_functor.mutator
class _Renamer(relax.PyExprMutator):  # type: ignore[misc]
    def __init__(self, names: Mapping[relax.Expr, relax.Expr]) -> None:
        super().__init__()
        self._names = names

    def visit_var_(self, variable: relax.Var) -> relax.Expr:
        renamed = self._names.get(variable)
        return super().visit_var_(variable) if renamed is None else renamed

    def visit_global_var_(self, variable: relax.GlobalVar) -> relax.Expr:
        return self._names[variable]

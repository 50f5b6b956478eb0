"""Relax -> simpler Relax: fewer operators, which fuse better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

from neo.engines.tvm.ir.constants import constant_of
from neo.engines.tvm.ir.expressions import name_of, shape_of
from neo.engines.tvm.rewrites.moving import Parts, Permuted, Regrouped

Array = NDArray[Any]

LEAST = 1e-15


@tvm.ir.transform.module_pass(opt_level=0)  # type: ignore[untyped-decorator]  # tvm has no types
def simplify(module: tvm.IRModule, _context: Any) -> tvm.IRModule:
    """Constants have to be folded before."""
    for rewriter in (_Affine, _Linear, Regrouped, Permuted, Parts):
        for name, function in module.functions.items():
            if isinstance(function, relax.Function):
                module.update_func(name, rewriter(module).visit_expr(function))
    return relax.transform.DeadCodeElimination()(relax.transform.CanonicalizeBindings()(module))


@dataclass(frozen=True, slots=True)
class _Map:
    """An affine map, base * scale + shift, in float64."""

    base: relax.Expr
    scale: Array
    shift: Array
    #: how many operators it replaces
    steps: int

    @property
    def least_steps(self) -> int:
        return int((self.scale != 1).any()) + int((self.shift != 0).any())


@relax.expr_functor.mutator
class _Affine(relax.PyExprMutator):  # type: ignore[misc]
    """Consecutive additions, multiplications and divisions by constants -> one addition and one multiplication. A batch
    normalisation has four such operators.
    """

    def __init__(self, module: tvm.IRModule) -> None:
        super().__init__(module)
        self._maps: dict[relax.Var, _Map] = {}

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        super().visit_var_binding_(binding)
        found = self._map_of(binding.value)
        if found is not None:
            self._maps[binding.var] = found

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        found = self._map_of(call)
        call = self.visit_expr_post_order(call)
        if found is None or (found.least_steps >= found.steps and call.op.name != "relax.divide"):
            return call
        dtype = call.ty.dtype
        result = self.visit_expr(found.base)
        if (found.scale != 1).any():
            result = self.builder_.emit(relax.op.multiply(result, relax.const(found.scale.astype(np.float32), dtype)))
        if (found.shift != 0).any():
            result = self.builder_.emit(relax.op.add(result, relax.const(found.shift.astype(np.float32), dtype)))
        return result

    def _map_of(self, call: relax.Expr) -> _Map | None:
        name = getattr(getattr(call, "op", None), "name", "").removeprefix("relax.")
        if name not in ("add", "subtract", "multiply", "divide") or str(call.ty.dtype) != "float32":
            return None
        variable, constant = call.args
        if name in ("add", "multiply") and constant_of(variable, self) is not None:
            variable, constant = constant, variable
        array = constant_of(constant, self)
        if array is None or constant_of(variable, self) is not None or shape_of(variable) != shape_of(call):
            return None
        value = array.astype(np.float64)
        if not _is_tame(value) or (name == "divide" and not value.all()):
            return None
        before = self._maps.get(variable) or _Map(variable, np.float64(1), np.float64(0), 0)
        scale, shift = before.scale, before.shift
        if name in ("multiply", "divide"):
            value = value if name == "multiply" else 1 / value
            scale, shift = scale * value, shift * value
        else:
            shift = shift + (value if name == "add" else -value)
        found = _Map(before.base, np.asarray(scale), np.asarray(shift), before.steps + 1)
        return found if _is_tame(found.scale) and _is_tame(found.shift) else None


@relax.expr_functor.mutator
class _Linear(relax.PyExprMutator):  # type: ignore[misc]
    """reshape(matmul(reshape(x), w)) that collapses leading dimensions and restores them -> matmul(x, w). The reshape
    would keep the epilogue from being fused to the product.
    """

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        if name_of(call) != "reshape":
            return call
        product: Any = self._bound(call.args[0])
        bias = None
        if name_of(product) == "add" and len(shape_of(product.args[1])) == 1:
            product, bias = self._bound(product.args[0]), product.args[1]
        flat: Any = self._bound(product.args[0]) if name_of(product) == "matmul" else None
        if name_of(flat) != "reshape":
            return call
        rows, weights = flat.args[0], product.args[1]
        if len(shape_of(weights)) != 2 or shape_of(rows) != (*shape_of(call)[:-1], shape_of(weights)[0]):
            return call
        result = relax.op.matmul(rows, weights)
        return result if bias is None else relax.op.add(self.builder_.emit(result), bias)

    def _bound(self, value: relax.Expr) -> Any:
        return self.lookup_binding(value) if isinstance(value, relax.Var) else None


def _is_tame(array: Array) -> bool:
    """Are all values of moderate size? Then reordering the operations neither overflows nor loses precision."""
    sizes = np.abs(array)
    return bool(((sizes == 0) | ((sizes > LEAST) & (sizes < 1 / LEAST))).all())

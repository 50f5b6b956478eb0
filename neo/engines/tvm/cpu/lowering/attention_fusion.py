"""Finds attention in a Relax graph, a softmax between two matrix products, and fuses it to one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
from tvm import relax, tirx

from neo.engines.tvm.cpu.lowering.attention import UPDATES, Attention, Operand, ScoreUpdate, scalar_of
from neo.engines.tvm.cpu.lowering.attention_operands import call_attention
from neo.engines.tvm.cpu.lowering.rows import Rows
from neo.engines.tvm.cpu.units.bfloat16 import FLOAT
from neo.engines.tvm.ir.constants import constant_of, is_known
from neo.engines.tvm.ir.expressions import name_of, shape_of
from neo.engines.tvm.ir.indices import axes_of

_COMMUTES = ("relax.add", "relax.multiply")

# variable -> expression that it is bound to; other expressions -> themselves
Lookup = Callable[[Any], Any]


def fuse_attention(module: tvm.IRModule, rows: Rows) -> tvm.IRModule:
    """Replaces every attention in ``main`` by one call, preceded by calls that lay out its operands."""
    main = module.get_global_var("main")
    fuser = _Fuser(module, rows)
    fuser.builder_.update_func(main, fuser.visit_expr(module[main]))
    return relax.transform.DeadCodeElimination()(fuser.builder_.get())


@relax.expr_functor.mutator
class _Fuser(relax.PyExprMutator):  # type: ignore[misc]  # tvm has no types
    def __init__(self, module: tvm.IRModule, rows: Rows) -> None:
        super().__init__(module)
        self._rows = rows
        self._fused: dict[relax.Call, Attention] = {}

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        attention = None
        if name_of(call) == "matmul":
            attention = attention_of(call, self._bound)
            if attention is not None and any(is_known(v.base, self) for v in (attention.q, attention.k, attention.v)):
                return call
        elif name_of(call) == "permute_dims":
            before = self._fused.get(self._bound(call.args[0]))
            attention = None if before is None else before.permuted(axes_of(call))
        if attention is None or not attention.fits(self._rows):
            return call
        fused = call_attention(self.builder_, attention, self._rows)
        self._fused[fused] = attention
        return fused

    def _bound(self, value: Any) -> Any:
        return self.lookup_binding(value) if isinstance(value, relax.Var) else value


def attention_of(product: relax.Call, lookup: Lookup) -> Attention | None:
    """The attention of which this is the second product. None if it is none, or not float32 with fixed shapes."""
    softmax = lookup(product.args[0])
    if name_of(softmax) != "nn.softmax" or not _is_fixed(product, softmax):
        return None
    rank = len(shape_of(product))
    if int(softmax.attrs.axis) % rank != rank - 1:
        return None
    found = _first_product(softmax.args[0], lookup)
    if found is None:
        return None
    first, updates = found
    q, k, v = (_operand(operand, lookup) for operand in (*first.args, product.args[1]))
    attention = Attention(q, k, v, updates, tuple(range(rank)))
    return attention if _is_sound(attention) else None


def _is_sound(attention: Attention) -> bool:
    """Have q, k and v the same leading dimensions?"""
    shapes = [operand.shape for operand in (attention.q, attention.k, attention.v)]
    lead = shapes[0][:-2]
    return bool(lead) and all(shape[:-2] == lead and min(shape) > 0 for shape in shapes)


def _first_product(scores: Any, lookup: Lookup) -> tuple[relax.Call, tuple[ScoreUpdate, ...]] | None:
    """-> (first product, updates of the scores before the softmax)."""
    shape, updates = shape_of(scores), []
    call = lookup(scores)
    while name_of(call) != "matmul":
        if f"relax.{name_of(call)}" not in UPDATES:
            return None
        inner, operand = call.args
        if call.op.name in _COMMUTES and not _has_shape(inner, shape):
            inner, operand = operand, inner
        if not _has_shape(inner, shape) or constant_of(inner) is not None or not _is_fixed(operand):
            return None
        updates.append(ScoreUpdate(call.op.name, operand))
        call = lookup(inner)
    return (call, tuple(reversed(updates))) if _is_fixed(call, *call.args) else None


def _operand(value: Any, lookup: Lookup) -> Operand:
    operand = Operand(value, tuple(range(len(shape_of(value)))))
    while True:
        call = lookup(operand.base)
        factor = _factor(call)
        if name_of(call) == "permute_dims":
            axes = axes_of(call)
            operand = Operand(call.args[0], tuple(axes[axis] for axis in operand.axes), operand.factor)
        elif factor is not None:
            operand = Operand(call.args[0], operand.axes, operand.factor * factor)
        else:
            return operand


def _factor(call: Any) -> float | None:
    """The number by which the call multiplies its first argument; None if it does something else."""
    if name_of(call) != "multiply" or not _has_shape(call.args[0], shape_of(call)):
        return None
    return scalar_of(call.args[1])


def _is_fixed(*values: Any) -> bool:
    """Are they float32 with fixed shapes?"""
    return all(
        str(value.ty.dtype) == FLOAT and all(isinstance(dim, tirx.IntImm) for dim in value.ty.shape) for value in values
    )


def _has_shape(value: Any, shape: tuple[int, ...]) -> bool:
    return _is_fixed(value) and shape_of(value) == shape

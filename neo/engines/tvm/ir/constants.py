"""Folding of constants with numpy.

TVM's FoldConstant compiles every operator to machine code and runs it once, which takes half a minute for a network
with a hundred batch normalisations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax, tirx

from neo.engines.tvm.ir.indices import axes_of

Array = NDArray[Any]


def constant_of(value: Any, bindings: Any = None) -> Array | None:
    """The value of an expression that is a constant; None for any other.

    bindings: a builder or mutator that looks up what variables are bound to.
    """
    while bindings is not None and isinstance(value, relax.Var):
        value = bindings.lookup_binding(value)
    return value.value.numpy() if isinstance(value, tvm.ir.GenericConst) else None


def is_known(value: Any, bindings: Any) -> bool:
    """Does the expression depend on constants only? bindings: as for ``constant_of``.

    ``relax.transform.FoldConstant`` compiles and runs such expressions. It does not link our helper functions, so a
    kernel that calls one would end the process.
    """
    open_: list[Any] = [value]
    seen: set[Any] = set()
    while open_:
        expression = open_.pop()
        if isinstance(expression, relax.Var):
            expression = bindings.lookup_binding(expression)
            if expression is None:  # a parameter
                return False
        if expression in seen:
            continue
        seen.add(expression)
        if isinstance(expression, relax.Call):
            open_.extend(expression.args)
        elif isinstance(expression, relax.Tuple):
            open_.extend(expression.fields)
        elif isinstance(expression, relax.TupleGetItem):
            open_.append(expression.tuple_value)
    return True


def _permuted(call: relax.Call, array: Array) -> Array:
    return np.transpose(array, axes_of(call))


def _expanded(call: relax.Call, array: Array) -> Array:
    expanded: Array = np.expand_dims(array, [int(axis) for axis in call.attrs.axis])
    return expanded


def _reshaped(call: relax.Call, array: Array, *_shape: Array) -> Array:
    return array.reshape([int(dim) for dim in call.ty.shape])


def _taken(call: relax.Call, array: Array, indices: Array) -> Array:
    axis = None if call.attrs.axis is None else int(call.attrs.axis)
    return np.take(array, indices, axis, mode="wrap" if call.attrs.mode == "wrap" else "clip")


def _converted(call: relax.Call, array: Array) -> Array:
    return array.astype(str(call.ty.dtype))


def _plain(function: Callable[..., Array]) -> Callable[..., Array]:
    return lambda _call, *arrays: function(*arrays)


FOLDED: dict[str, Callable[..., Array]] = {
    "relax.permute_dims": _permuted,
    "relax.expand_dims": _expanded,
    "relax.reshape": _reshaped,
    "relax.add": _plain(np.add),
    "relax.subtract": _plain(np.subtract),
    "relax.multiply": _plain(np.multiply),
    "relax.divide": _plain(np.divide),
    "relax.negative": _plain(np.negative),
    "relax.less": _plain(np.less),
    "relax.where": _plain(np.where),
    "relax.take": _taken,
    "relax.astype": _converted,
    "relax.sqrt": _plain(np.sqrt),
    "relax.rsqrt": _plain(lambda array: 1 / np.sqrt(array)),
}


@tvm.ir.transform.module_pass(opt_level=0)  # type: ignore[untyped-decorator]  # tvm has no types
def fold_constants(module: tvm.IRModule, _context: Any) -> tvm.IRModule:
    """Evaluate operators of FOLDED whose arguments are all constant; leave the rest as it is."""
    for name, function in module.functions.items():
        if isinstance(function, relax.Function):
            module.update_func(name, _Folder(module).visit_expr(function))
    return relax.transform.DeadCodeElimination()(relax.transform.CanonicalizeBindings()(module))


@relax.expr_functor.mutator
class _Folder(relax.PyExprMutator):  # type: ignore[misc]
    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        if getattr(call.op, "name", "") == "relax.shape_to_tensor":
            return self._shape(call)
        function = FOLDED.get(getattr(call.op, "name", ""))
        if function is None:
            return call
        known = [constant_of(argument, self) for argument in call.args if not isinstance(argument, relax.ShapeExpr)]
        arrays = [array for array in known if array is not None]
        if len(arrays) < len(known):
            return call
        dtype = str(call.ty.dtype)
        return relax.const(np.asarray(function(call, *arrays), dtype, order="C"), dtype)

    def _shape(self, call: relax.Call) -> relax.Expr:
        """A known shape as a constant. The tensor then has one reader less, and may become dead code."""
        shape: Any = call.args[0]
        while isinstance(shape, relax.Var):
            shape = self.lookup_binding(shape)
        if isinstance(shape, relax.Call) and getattr(shape.op, "name", "") == "relax.shape_of":
            shape = shape.args[0].ty.shape
        if not isinstance(shape, relax.ShapeExpr) or not all(isinstance(dim, tirx.IntImm) for dim in shape):
            return call
        return relax.const(np.array([int(dim) for dim in shape], np.int64), "int64")

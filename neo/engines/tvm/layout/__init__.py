"""Which memory layout every operator works in.

Convolutions get channels last: their innermost loop then runs over output channels, which are contiguous in the weights
(HWIO) and in the output, and the schedules vectorise it. ``search`` decides which other tensors have channels last too;
this module rewrites the graph accordingly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import relax

from neo.engines.tvm.ir.constants import constant_of
from neo.engines.tvm.ir.expressions import name_of, permuted
from neo.engines.tvm.ir.indices import axes_of
from neo.engines.tvm.ir.operators import CONVOLUTIONS
from neo.engines.tvm.layout.operators import convolve
from neo.engines.tvm.layout.search import Layouts, reads_few_channels, search
from neo.engines.tvm.layout.view import View


def choose_layouts(module: tvm.IRModule, *, copies_images: bool = False) -> tvm.IRModule:
    """Rewrite all functions. Constants have to be folded before.

    copies_images: input images are copied in any case, to convert their dtype, so rearranging them costs nothing.
    """
    prepare = [relax.transform.Normalize(), relax.transform.CanonicalizeBindings()]
    module = tvm.transform.Sequential(prepare)(module)
    for name, function in module.functions.items():
        if isinstance(function, relax.Function):
            layouts = search(function, copies_images=copies_images)
            module.update_func(name, _Writer(module, layouts, copies_images=copies_images).visit_expr(function))
    return tvm.transform.Sequential([*prepare, relax.transform.DeadCodeElimination()])(module)


@relax.expr_functor.mutator
class _Writer(relax.PyExprMutator):  # type: ignore[misc]  # tvm has no types
    def __init__(self, module: tvm.IRModule, layouts: Layouts, *, copies_images: bool) -> None:
        super().__init__(module)
        self._layouts = layouts
        self._copies_images = copies_images
        # variable -> the same value with channels last
        self._last: dict[relax.Var, relax.Var] = {}

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        var, value = binding.var, binding.value
        if var not in self._layouts.last:
            if var in self._layouts.turned:
                self._bind(var, self._turned(value))
            else:
                super().visit_var_binding_(binding)
            return
        bound = self.builder_.emit(self._written(var, value))
        self._last[var] = bound
        if isinstance(bound.ty, relax.TensorType):  # for readers that want the model's order; may be dead code
            view = self._layouts.views[var]
            self._bind(var, permuted(bound, view.back))

    def _bind(self, var: relax.Var, value: relax.Expr) -> None:
        self.builder_.emit_normalized(relax.VarBinding(self.visit_var_def(var), self.builder_.normalize(value)))

    def _written(self, var: relax.Var, value: Any) -> relax.Expr:
        """The value with its channels last."""
        if isinstance(value, relax.TupleGetItem):
            return relax.TupleGetItem(self._last[value.tuple_value], value.index)
        view = self._layouts.views[var]
        if name_of(value) in CONVOLUTIONS:
            return self._convolution(value)
        rule = self._layouts.rules.get(var)
        if rule is None:  # a permutation
            axes = axes_of(value)
            return permuted(self.visit_expr(value.args[0]), [axes[axis] for axis in view.order])
        tensors = [tensor for value in value.args[: rule.tensors] for tensor in self._fields(value)]
        before = next(self._layouts.views[tensor] for tensor in tensors if tensor in self._layouts.views)
        return rule.write(value, [self._as_last(tensor, before) for tensor in tensors], before, view)

    def _turned(self, value: relax.Call) -> relax.Expr:
        image = value.args[0]
        view = self._layouts.views[image]
        return permuted(self._as_last(image, view), [view.axis(axis) for axis in axes_of(value)])

    def _convolution(self, call: relax.Call) -> relax.Expr:
        image, kernel = call.args
        rank = len(call.ty.shape)
        order = [*range(2, rank), 1, 0]
        weights = constant_of(kernel, self)
        if weights is None:
            kernel = self.builder_.emit(relax.op.permute_dims(self.visit_expr(kernel), order))
        else:
            kernel = relax.const(np.ascontiguousarray(weights.transpose(order)))
        image_last = image in self._layouts.last or self._copies_images or not reads_few_channels(call)
        image = self._as_last(image, View(rank, rank - 2)) if image_last else self.visit_expr(image)
        return convolve(call, image, kernel, image_last=image_last)

    def _as_last(self, value: relax.Expr, view: View) -> relax.Expr:
        array = constant_of(value)
        if array is not None:
            whole = array.reshape((1,) * (view.rank - array.ndim) + array.shape)
            return relax.const(np.ascontiguousarray(whole.transpose(view.order))) if array.ndim else value
        if value not in self._last:
            self._last[value] = self.builder_.emit(permuted(self.visit_expr(value), view.order))
        return self._last[value]

    def _fields(self, value: relax.Expr) -> list[relax.Expr]:
        bound = self.lookup_binding(value) if isinstance(value, relax.Var) else value
        return list(bound.fields) if isinstance(bound, relax.Tuple) else [value]

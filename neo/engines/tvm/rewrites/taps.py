"""Convolutions without kernel taps that only read padding."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax, tirx

from neo.engines.tvm.ir.constants import constant_of
from neo.engines.tvm.ir.expressions import name_of, shape_of
from neo.engines.tvm.ir.operators import CONVOLUTIONS

# dimensions before the spatial ones: batch and channels of data, filters and channels of weights
LEADING = 2


@tvm.ir.transform.module_pass(opt_level=0)  # type: ignore[untyped-decorator]  # tvm has no types
def drop_taps(module: tvm.IRModule, _context: Any) -> tvm.IRModule:
    """Channels have to be first still.

    A dilated kernel may reach far beyond the image: of 3 x 3 taps that are 24 pixels apart, over an image of 16 x 16,
    all but the centre read zeros only. Such taps at the edges of the kernel are removed, and their padding with them.
    """
    for name, function in module.functions.items():
        if isinstance(function, relax.Function):
            module.update_func(name, _Dropper(module).visit_expr(function))
    return module


@relax.expr_functor.mutator
class _Dropper(relax.PyExprMutator):  # type: ignore[misc]
    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        convolution = CONVOLUTIONS.get(name_of(call))
        weights = None if convolution is None else constant_of(call.args[1], self)
        sizes = [] if weights is None else [*call.args[0].ty.shape, *call.ty.shape]
        if convolution is None or weights is None or not all(isinstance(size, tirx.IntImm) for size in sizes):
            return call
        attrs, rank = call.attrs, weights.ndim
        size, out = sizes[LEADING:rank], sizes[rank + LEADING :]
        padding = [int(number) for number in attrs.padding]
        for axis, (step, spread) in enumerate(zip(attrs.strides, attrs.dilation, strict=True)):
            taps = weights.shape[LEADING + axis]
            starts = [tap * int(spread) - padding[axis] for tap in range(taps)]
            reach = int(step) * (int(out[axis]) - 1)
            met = [tap for tap, start in enumerate(starts) if start < int(size[axis]) and start + reach >= 0]
            if not met:  # every tap reads zeros only, and one has to remain
                return call
            weights = weights.take(range(met[0], met[-1] + 1), LEADING + axis)
            padding[axis] -= int(spread) * met[0]
            padding[rank - LEADING + axis] -= int(spread) * (taps - 1 - met[-1])
        if weights.shape == shape_of(call.args[1]) or min(padding) < 0:
            return call
        rest = attrs.groups, attrs.data_layout, attrs.kernel_layout, attrs.out_layout
        kernel = relax.const(weights)
        return convolution(call.args[0], kernel, attrs.strides, padding, attrs.dilation, *rest)

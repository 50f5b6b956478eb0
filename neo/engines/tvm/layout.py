"""Which memory layout every operator works in.

Channels last throughout: the innermost loop of a convolution then runs over output channels, contiguous in the
weights (HWIO) and in the output, which is what the schedules vectorise. Transforms that meet cancel; those of weights
are folded at compile time.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax

from neo.engines.tvm.indices import axes_of

DESIRED = {
    "relax.nn.conv2d": ["NHWC", "HWIO"],
    # TVM lowers transposed convolutions in this layout only (those that converters.py leaves to it)
    "relax.nn.conv2d_transpose": ["NCHW", "IOHW"],
}


# an image's few channels are read one by one in any case
FEW_CHANNELS = 4


def choose_layouts(module: tvm.IRModule, *, copies_images: bool = False) -> tvm.IRModule:
    """copies_images: an image that goes in is rearranged in any case, because its numbers become others.

    Raises tvm's errors for graphs it cannot convert.
    """
    return tvm.transform.Sequential(
        [
            relax.transform.ConvertLayout(DESIRED),
            relax.transform.Normalize(),
            relax.transform.CanonicalizeBindings(),
            *([] if copies_images else [_read_images_as_they_come]),
            relax.transform.DeadCodeElimination(),
        ]
    )(module)


@relax.expr_functor.mutator
class _ImageReader(relax.PyExprMutator):  # type: ignore[misc]  # tvm has no types
    """A convolution of an image that was transposed for it -> one that reads the image as it was."""

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        if getattr(call.op, "name", "") != "relax.nn.conv2d" or call.attrs.data_layout != "NHWC":
            return call
        image = self._transposed_image(call.args[0])
        if image is None:
            return call
        attrs = call.attrs
        return relax.op.nn.conv2d(
            image,
            call.args[1],
            attrs.strides,
            attrs.padding,
            attrs.dilation,
            attrs.groups,
            "NCHW",
            attrs.kernel_layout,
            "NHWC",
            attrs.out_dtype,
        )

    def _transposed_image(self, value: relax.Expr) -> relax.Expr | None:
        bound = self.lookup_binding(value) if isinstance(value, relax.Var) else None
        if not isinstance(bound, relax.Call) or getattr(bound.op, "name", "") != "relax.permute_dims":
            return None
        if axes_of(bound) != [0, 2, 3, 1]:
            return None
        return bound.args[0] if int(bound.args[0].ty.shape[1]) <= FEW_CHANNELS else None


@tvm.ir.transform.module_pass(opt_level=0)  # type: ignore[untyped-decorator]
def _read_images_as_they_come(module: tvm.IRModule, _context: Any) -> tvm.IRModule:
    for name, function in module.functions.items():
        if isinstance(function, relax.Function):
            module.update_func(name, _ImageReader(module).visit_expr(function))
    return module

"""How operators map layouts from inputs to outputs, and how they are written with channels last.

Operators without a rule here keep the model's order of dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import relax

from neo.engines.tvm.ir.expressions import name_of, shape_of
from neo.engines.tvm.ir.indices import axes_of
from neo.engines.tvm.ir.operators import CONVOLUTIONS
from neo.engines.tvm.layout.view import View

# operators on one tensor, or on several that are broadcast, without attributes that name axes
# fmt: off
ELEMENTWISE = frozenset([
    "abs", "add", "astype", "bitwise_and", "bitwise_not", "bitwise_or", "bitwise_xor", "ceil", "clip", "cos",
    "divide", "equal", "erf", "exp", "floor", "floor_divide", "floor_mod", "greater", "greater_equal", "isfinite",
    "isinf", "isnan", "less", "less_equal", "log", "logical_and", "logical_not", "logical_or", "logical_xor",
    "maximum", "minimum", "mod", "multiply", "negative", "nn.gelu", "nn.gelu_tanh", "nn.leakyrelu", "nn.relu",
    "nn.selu", "nn.silu", "nn.softplus", "not_equal", "power", "round", "rsqrt", "sigmoid", "sign", "sin", "sqrt",
    "square", "subtract", "tan", "tanh", "trunc", "where",
])
# fmt: on
REDUCTIONS = frozenset(["max", "mean", "min", "prod", "std", "sum", "variance"])
RESHAPES = frozenset(["expand_dims", "flatten", "reshape", "squeeze"])
POOLINGS = frozenset(f"nn.{kind}_pool{rank}d" for kind in ("avg", "max") for rank in (1, 2, 3))
# operators by which it is known that a tensor is an image: all dimensions but the first two are pixels
SEEDS = frozenset([*CONVOLUTIONS, *POOLINGS, "image.resize2d"])
# number of pixel dimensions -> layout
IMAGES_LAST = {1: "NWC", 2: "NHWC", 3: "NDHWC"}
IMAGES_FIRST = {1: "NCW", 2: "NCHW", 3: "NCDHW"}
KERNELS_LAST = {1: "WIO", 2: "HWIO", 3: "DHWIO"}


@dataclass(frozen=True, slots=True)
class Rule:
    """An operator that works in either layout, if all of its tensors have the same."""

    #: view of the input -> view of the output; None: the output has none
    after: Callable[[relax.Call, View], View | None]
    #: view of the output -> view of the input; None: the input has none
    before: Callable[[relax.Call, View], View | None]
    #: (call, its tensors with channels last, view of the input, view of the output) -> the call with channels last
    write: Callable[[relax.Call, list[Any], View, View], relax.Expr]
    #: how many of the arguments, from the first, have a layout; None: all
    tensors: int | None = None


def rule_of(call: relax.Call) -> Rule | None:
    return RULES.get(name_of(call))


def convolve(call: relax.Call, image: Any, kernel: Any, *, image_last: bool) -> relax.Expr:
    """The convolution with channels last in its result and its kernel, and in the image too if image_last."""
    attrs, spatial = call.attrs, len(call.ty.shape) - 2
    data_layout = (IMAGES_LAST if image_last else IMAGES_FIRST)[spatial]
    return CONVOLUTIONS[name_of(call)](
        image,
        kernel,
        attrs.strides,
        attrs.padding,
        attrs.dilation,
        attrs.groups,
        data_layout,
        KERNELS_LAST[spatial],
        IMAGES_LAST[spatial],
        attrs.out_dtype,
    )


def _same(_call: relax.Call, view: View) -> View:
    return view


def _again(call: relax.Call, tensors: list[Any], _view: View, _out: View) -> relax.Expr:
    return relax.Call(call.op, [*tensors, *call.args[len(tensors) :]], call.attrs)


def _concat(call: relax.Call, tensors: list[Any], view: View, _out: View) -> relax.Expr:
    return relax.op.concat(tensors, view.axis(int(call.attrs.axis)))


def _split(call: relax.Call, tensors: list[Any], view: View, _out: View) -> relax.Expr:
    sections = call.attrs.indices_or_sections
    sections = [int(n) for n in sections] if isinstance(sections, Sequence) else int(sections)
    return relax.op.split(tensors[0], sections, view.axis(int(call.attrs.axis)))


def _strided_slice(call: relax.Call, tensors: list[Any], view: View, _out: View) -> relax.Expr:
    axes = [view.axis(int(axis)) for axis in call.args[1].fields]
    return relax.op.strided_slice(tensors[0], axes, *call.args[2:], assume_inbound=call.attrs.assume_inbound)


def _pad(call: relax.Call, tensors: list[Any], view: View, _out: View) -> relax.Expr:
    width = [int(n) for n in call.attrs.pad_width]
    moved = [n for axis in view.order for n in width[2 * axis : 2 * axis + 2]]
    return relax.op.nn.pad(tensors[0], moved, call.attrs.pad_mode, call.attrs.pad_value)


def _softmax(call: relax.Call, tensors: list[Any], view: View, _out: View) -> relax.Expr:
    function = relax.op.nn.softmax if name_of(call) == "nn.softmax" else relax.op.nn.log_softmax
    return function(tensors[0], view.axis(int(call.attrs.axis)))


def _take(call: relax.Call, tensors: list[Any], view: View, _out: View) -> relax.Expr:
    return relax.op.take(tensors[0], call.args[1], view.axis(int(call.attrs.axis)), call.attrs.mode)


def _taken(call: relax.Call, view: View) -> View | None:
    return view if call.attrs.axis is not None and len(call.args[1].ty.shape) == 1 else None


def _reduced(call: relax.Call, view: View) -> View:
    return view if call.attrs.keepdims else view.without(_axes(call))


def _unreduced(call: relax.Call, view: View) -> View | None:
    return view if call.attrs.keepdims else None


def _axes(call: relax.Call) -> list[int]:
    every = range(len(call.args[0].ty.shape))
    return list(every) if call.attrs.axis is None else [int(axis) for axis in call.attrs.axis]


def _reduce(call: relax.Call, tensors: list[Any], view: View, _out: View) -> relax.Expr:
    axes = sorted(view.axis(axis) for axis in _axes(call))
    return getattr(relax.op, name_of(call))(tensors[0], axes, call.attrs.keepdims)


def _regrouped(call: relax.Call, view: View) -> View | None:
    return view.regrouped(shape_of(call.args[0]), shape_of(call))


def _ungrouped(call: relax.Call, view: View) -> View | None:
    return view.regrouped(shape_of(call), shape_of(call.args[0]))


def _regroup(call: relax.Call, tensors: list[Any], _view: View, out: View) -> relax.Expr:
    shape = shape_of(call)
    return relax.op.reshape(tensors[0], [shape[axis] for axis in out.order])


def _broadcast(call: relax.Call, tensors: list[Any], _view: View, out: View) -> relax.Expr:
    shape = shape_of(call)
    return relax.op.broadcast_to(tensors[0], [shape[axis] for axis in out.order])


def _same_rank(call: relax.Call, view: View) -> View | None:
    return view if len(call.args[0].ty.shape) == len(call.ty.shape) else None


def _pool(call: relax.Call, tensors: list[Any], view: View, _out: View) -> relax.Expr:
    attrs, layout = call.attrs, IMAGES_LAST[view.spatial]
    function = getattr(relax.op.nn, name_of(call).removeprefix("nn."))
    sizes = attrs.pool_size, attrs.strides, attrs.padding, attrs.dilation, attrs.ceil_mode, attrs.count_include_pad
    return function(tensors[0], *sizes, layout, layout)


def _image(call: relax.Call, view: View) -> View | None:
    """For operators on images: they want all dimensions but the first two to be pixels."""
    return view if view.spatial == len(call.ty.shape) - 2 else None


def _resize(call: relax.Call, tensors: list[Any], _view: View, _out: View) -> relax.Expr:
    attrs = call.attrs
    return relax.op.image.resize2d(
        tensors[0],
        call.args[1],
        roi=tuple(float(bound) for bound in attrs.roi),
        layout=IMAGES_LAST[2],
        method=attrs.method,
        coordinate_transformation_mode=attrs.coordinate_transformation_mode,
        rounding_method=attrs.rounding_method,
        cubic_alpha=attrs.cubic_alpha,
        cubic_exclude=attrs.cubic_exclude,
        extrapolation_value=attrs.extrapolation_value,
        out_dtype=attrs.out_dtype,
    )


def _shuffled(call: relax.Call, view: View) -> View | None:
    """For permutations that only reorder dimensions of channels."""
    axes, first = axes_of(call), view.rank - view.spatial
    return view if axes[0] == 0 and axes[first:] == list(range(first, view.rank)) else None


def _shuffle(call: relax.Call, tensors: list[Any], view: View, out: View) -> relax.Expr:
    axes = axes_of(call)
    return relax.op.permute_dims(tensors[0], [view.axis(axes[axis]) for axis in out.order])


_ALIKE = Rule(_same, _same, _again)
_REDUCTION = Rule(_reduced, _unreduced, _reduce)
_RESHAPE = Rule(_regrouped, _ungrouped, _regroup, 1)
_POOLING = Rule(_image, _image, _pool)
# operators that can have their channels last
RULES: Mapping[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, _ALIKE),
    **dict.fromkeys(REDUCTIONS, _REDUCTION),
    **dict.fromkeys(RESHAPES, _RESHAPE),
    **dict.fromkeys(POOLINGS, _POOLING),
    "broadcast_to": Rule(_same_rank, _same_rank, _broadcast, 1),
    "concat": Rule(_same, _same, _concat),
    "image.resize2d": Rule(_image, _image, _resize, 1),
    "nn.log_softmax": Rule(_same, _same, _softmax),
    "nn.pad": Rule(_same, _same, _pad),
    "nn.softmax": Rule(_same, _same, _softmax),
    "permute_dims": Rule(_shuffled, _shuffled, _shuffle),
    "split": Rule(_same, _same, _split),
    "strided_slice": Rule(_same, _same, _strided_slice, 1),
    "take": Rule(_taken, _taken, _take, 1),
}

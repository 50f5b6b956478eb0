"""Operators that move or select elements and compute nothing."""

from __future__ import annotations

import math

from neo.errors import InputSpecError
from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Operation
from neo.frontends.mxnet.operators.reshape_codes import reshaped

# larger than any dimension: ONNX's way to say "to the end"
TO_THE_END = (1 << 63) - 1


def flatten(op: Operation) -> Value:
    return op.emit("Flatten", op.data, axis=1)


def reshape(op: Operation) -> Value:
    codes = op.attributes.integers("shape", ())
    if not codes:
        codes = op.attributes.integers("target_shape", ())
        if not codes or op.attributes.boolean("keep_highest", default=False):
            raise op.unsupported("a reshape without a shape")
        # the deprecated spelling marks the dimension to infer with 0
        return op.reshape(op.data, tuple(-1 if code == 0 else code for code in codes))
    reverse = op.attributes.boolean("reverse", default=False)
    return op.reshape(op.data, reshaped(op.data.shape, codes, reverse=reverse, where=op.where))


def transpose(op: Operation) -> Value:
    rank = op.data.rank
    axes = tuple(op.axis(axis, rank) for axis in op.attributes.integers("axes", ()))
    if axes and sorted(axes) != list(range(rank)):
        raise InputSpecError(f"{op.where} exchanges the axes {axes}; its input is {op.data}")
    return op.emit("Transpose", op.data, perm=axes or tuple(reversed(range(rank))))


def swap_axes(op: Operation) -> Value:
    first = op.axis(op.attributes.integer("dim1", 0), op.data.rank)
    second = op.axis(op.attributes.integer("dim2", 0), op.data.rank)
    order = list(range(op.data.rank))
    order[first], order[second] = order[second], order[first]
    return op.emit("Transpose", op.data, perm=order)


def expand_dims(op: Operation) -> Value:
    axis = op.axis(op.attributes.integer("axis"), op.data.rank + 1)
    return op.emit("Unsqueeze", op.data, op.constant([axis]))


def squeeze(op: Operation) -> Value:
    rank = op.data.rank
    named = {op.axis(axis, rank) for axis in op.attributes.integers("axis", ())}
    axes = named or {axis for axis, dim in enumerate(op.data.shape) if dim == 1}
    for axis in sorted(axes):
        op.require_size(op.data, axis, 1, f"element in dimension {axis} to squeeze it")
    if len(axes) == rank:
        # MXNet has no tensors without dimensions
        return op.reshape(op.data, (1,))
    return op.emit("Squeeze", op.data, op.constant(sorted(axes))) if axes else op.data


def concat(op: Operation) -> Value:
    return op.emit("Concat", op.data, *op.inputs[1:], axis=op.axis(op.attributes.integer("dim", 1), op.data.rank))


def stack(op: Operation) -> Value:
    axis = op.axis(op.attributes.integer("axis", 0), op.data.rank + 1)
    return op.emit("Concat", *(op.emit("Unsqueeze", value, op.constant([axis])) for value in op.inputs), axis=axis)


def split(op: Operation) -> tuple[Value, ...]:
    """SliceChannel: equal parts along an axis."""
    axis, parts = op.axis(op.attributes.integer("axis", 1), op.data.rank), op.attributes.integer("num_outputs")
    size = op.size(op.data, axis)
    if parts < 1 or size % parts:
        raise InputSpecError(f"{op.where} cannot cut dimension {axis} of {op.data} into {parts} equal parts")
    pieces = op.emit_several("Split", parts, op.data, op.constant([size // parts] * parts), axis=axis)
    if not op.attributes.boolean("squeeze_axis", default=False):
        return pieces
    return tuple(op.emit("Squeeze", piece, op.constant([axis])) for piece in pieces)


def slice_axis(op: Operation) -> Value:
    axis = op.axis(op.attributes.integer("axis"), op.data.rank)
    begin = op.attributes.integer("begin")
    end = op.attributes.integer("end", TO_THE_END)
    return op.emit("Slice", op.data, op.constant([begin]), op.constant([end]), op.constant([axis]))


def slice_(op: Operation) -> Value:
    """begin, end and step for the first axes; None is from, or to, the edge that the step comes from."""
    begin, end = op.attributes.optional_integers("begin"), op.attributes.optional_integers("end")
    step = op.attributes.optional_integers("step") if op.attributes.has("step") else ()
    steps = [1 if number is None else number for number in step] or [1] * len(begin)
    if not len(begin) == len(end) == len(steps) <= op.data.rank or 0 in steps:
        raise op.unsupported(f"begin={begin}, end={end}, step={step} of {op.data}")
    starts, ends = [], []
    for first, last, by in zip(begin, end, steps, strict=True):
        edges = (0, TO_THE_END) if by > 0 else (TO_THE_END, -TO_THE_END)
        starts.append(edges[0] if first is None else first)
        ends.append(edges[1] if last is None else last)
    axes = op.constant(range(len(begin)))
    return op.emit("Slice", op.data, op.constant(starts), op.constant(ends), axes, op.constant(steps))


def pad(op: Operation) -> Value:
    mode = op.attributes.choice("mode", ("constant", "edge", "reflect"))
    widths = op.attributes.integers("pad_width")
    if len(widths) != 2 * op.data.rank or min(widths) < 0:
        raise InputSpecError(f"{op.where} pads {len(widths)} edges by {widths}; its input is {op.data}")
    # MXNet lists (before, after) axis by axis, ONNX all befores and then all afters
    pads = op.constant((*widths[0::2], *widths[1::2]))
    if mode != "constant":
        return op.emit("Pad", op.data, pads, mode=mode)
    return op.emit("Pad", op.data, pads, op.constant(op.attributes.number("constant_value", 0.0), op.data.dtype))


def upsampling(op: Operation) -> Value:
    scale = op.attributes.integer("scale")
    if op.attributes.choice("sample_type", ("nearest", "bilinear")) == "bilinear":
        return _bilinear(op, scale)
    op.require_rank(op.data, 4)
    enlarged = [_nearest(op, value, scale) for value in op.inputs]
    if len(enlarged) == 1:
        return enlarged[0]
    if op.attributes.choice("multi_input_mode", ("concat", "sum"), "concat") == "sum":
        return op.emit("Sum", *enlarged)
    return op.emit("Concat", *enlarged, axis=1)


def _nearest(op: Operation, value: Value, scale: int) -> Value:
    """Every input grows to the size that the first one has after scaling."""
    if value is not op.data:
        scale = op.size(op.data, 2) * scale // op.size(value, 2)
    if scale < 1:
        raise op.unsupported(f"scale {scale}")
    return op.emit(
        "Resize",
        value,
        None,
        op.constant([1.0, 1.0, scale, scale], "float32"),
        mode="nearest",
        nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )


def _bilinear(op: Operation, scale: int) -> Value:
    """A transposed convolution, channel by channel, whose kernel the model brings along."""
    weight = op.input(1, "weight")
    op.require_size(op.data, 1, op.size(weight, 0), "channels")
    side = 2 * scale - scale % 2
    before = math.ceil((scale - 1) / 2)
    return op.emit(
        "ConvTranspose",
        op.data,
        weight,
        kernel_shape=(side, side),
        strides=(scale, scale),
        pads=(before,) * 4,
        group=op.size(weight, 0),
    )

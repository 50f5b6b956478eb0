"""Operators that move or select elements and compute nothing."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from neo.errors import InputSpecError
from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Converter, Operation
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
        return reshape_to(op, tuple(-1 if code == 0 else code for code in codes))
    reverse = op.attributes.boolean("reverse", default=False)
    return reshape_to(op, reshaped(op.data.shape, codes, reverse=reverse, where=op.where))


def reshape_to(op: Operation, shape: tuple[int, ...]) -> Value:
    """A constant stays one: weights that are flattened, to be handed to an RNN, can still be read."""
    array = op.data.array
    if array is None or 0 in shape:
        return op.reshape(op.data, shape)
    try:
        return op.constant(array.reshape(shape), op.data.dtype)
    except ValueError as error:
        raise InputSpecError(f"{op.where} makes the shape {list(shape)} of {op.data}") from error


def reshape_like(op: Operation) -> Value:
    """A range of dimensions takes the sizes of a range of the other tensor's dimensions."""
    like = op.input(1, "rhs")
    begin, end = _range_of_axes(op, "lhs", op.data.rank)
    other_begin, other_end = _range_of_axes(op, "rhs", like.rank)
    wanted = (*op.data.shape[:begin], *like.shape[other_begin:other_end], *op.data.shape[end:])
    dynamic = [axis for axis, dim in enumerate(wanted) if isinstance(dim, str)]
    if dynamic and wanted == op.data.shape:
        return op.data
    if len(dynamic) > 1:
        raise InputSpecError(f"{op.where} keeps several dynamic dimensions", hint="fix them with --dim NAME=1")
    return op.reshape(op.data, [-1 if isinstance(dim, str) else dim for dim in wanted])


def _range_of_axes(op: Operation, side: str, rank: int) -> tuple[int, int]:
    begin, end = op.attributes.integer(f"{side}_begin", 0), op.attributes.integer(f"{side}_end", rank)
    begin, end = (number + rank if number < 0 else number for number in (begin, end))
    if not 0 <= begin <= end <= rank:
        raise op.unsupported(f"{side}_begin={begin}, {side}_end={end} of {rank} dimensions")
    return begin, end


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
    if len(axes) == rank and not op.numpy:
        # MXNet has no tensors without dimensions
        return op.reshape(op.data, (1,))
    return op.emit("Squeeze", op.data, op.constant(sorted(axes))) if axes else op.data


def concat(op: Operation) -> Value:
    return concatenated(op, op.attributes.integer("dim", 1))


def concatenated(op: Operation, axis: int) -> Value:
    return op.emit("Concat", op.data, *op.inputs[1:], axis=op.axis(axis, op.data.rank))


def concat_weights(op: Operation) -> Value:
    """The weights of an RNN in one vector. Constants, they stay one."""
    axis = op.axis(op.attributes.integer("dim", 1), op.data.rank)
    arrays = [value.array for value in op.inputs if value.array is not None]
    if len(arrays) != len(op.inputs):
        return concatenated(op, axis)
    try:
        return op.constant(np.concatenate(arrays, axis), op.data.dtype)
    except ValueError as error:
        raise InputSpecError(f"{op.where}: its inputs do not fit together: {', '.join(map(str, op.inputs))}") from error


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


def split_at(op: Operation) -> tuple[Value, ...]:
    """Equal parts along an axis, or parts that begin at given indices, of which the first is always 0."""
    axis = op.axis(op.attributes.integer("axis", 1), op.data.rank)
    size, parts = op.size(op.data, axis), op.attributes.integer("sections", 0)
    if parts:
        if parts < 1 or size % parts:
            raise InputSpecError(f"{op.where} cannot cut dimension {axis} of {op.data} into {parts} equal parts")
        sizes = [size // parts] * parts
    else:
        starts = (*op.attributes.integers("indices", ()), size)
        sizes = [end - start for start, end in pairwise(starts)]
        if not sizes or starts[0] != 0 or min(sizes) < 1:
            raise op.unsupported(f"indices={starts[:-1]} of a dimension of {size}")
    pieces = op.emit_several("Split", len(sizes), op.data, op.constant(sizes), axis=axis)
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


def slice_like(op: Operation) -> Value:
    """The beginning, as long as the other tensor is along the axes named, or along all."""
    like = op.input(1, "shape_like")
    axes = op.attributes.integers("axes", ()) or tuple(range(op.data.rank))
    pairs = [(op.axis(axis, op.data.rank), op.axis(axis, like.rank)) for axis in axes]
    cut = {axis: other for axis, other in pairs if op.data.shape[axis] != like.shape[other]}
    if not cut:
        return op.data
    ends = [op.size(like, other) for other in cut.values()]
    for axis, end in zip(cut, ends, strict=True):
        if op.size(op.data, axis) < end:
            raise InputSpecError(f"{op.where} takes {end} of dimension {axis} of {op.data}")
    return op.emit("Slice", op.data, op.constant([0] * len(cut)), op.constant(ends), op.constant(list(cut)))


def crop(op: Operation) -> Value:
    """Height and width cut to a size, or to those of a second input, from an offset or around the centre."""
    op.require_rank(op.data, 4)
    if len(op.inputs) > 1:
        wanted = tuple(op.size(op.inputs[1], axis) for axis in (2, 3))
    else:
        wanted = op.attributes.integers("h_w", (0, 0))
    whole = op.size(op.data, 2), op.size(op.data, 3)
    offset = op.attributes.integers("offset", (0, 0))
    if len(wanted) == 2 and op.attributes.boolean("center_crop", default=False):
        offset = tuple((old - new) // 2 for old, new in zip(whole, wanted, strict=True))
    ends = tuple(first + new for first, new in zip(offset, wanted, strict=False))
    if len(ends) != 2 or min(*wanted, *(1 + first for first in offset)) < 1 or ends[0] > whole[0] or ends[1] > whole[1]:
        raise InputSpecError(f"{op.where} takes {wanted} at {offset} of {op.data}")
    return op.emit("Slice", op.data, op.constant(offset), op.constant(ends), op.constant([2, 3]))


def block(operator: str) -> Converter:
    """Between the channels and square blocks of places."""

    def convert(op: Operation) -> Value:
        op.require_rank(op.data, 4)
        size = op.attributes.integer("block_size")
        grown = (1,) if operator == "DepthToSpace" else (2, 3)
        divisor = size * size if operator == "DepthToSpace" else size
        if size < 1 or any(op.size(op.data, axis) % divisor for axis in grown):
            raise op.unsupported(f"block_size={size} of {op.data}")
        return op.emit(operator, op.data, blocksize=size)

    return convert


def pad(op: Operation) -> Value:
    mode = op.attributes.choice("mode", ("constant", "edge", "reflect"))
    return padded(op, op.attributes.integers("pad_width"), mode)


def padded(op: Operation, widths: tuple[int, ...], mode: str) -> Value:
    """widths: (before, after) axis by axis; ONNX has all befores and then all afters."""
    if len(widths) != 2 * op.data.rank or min(widths, default=0) < 0:
        raise InputSpecError(f"{op.where} pads {len(widths)} edges by {widths}; its input is {op.data}")
    pads = op.constant((*widths[0::2], *widths[1::2]))
    if mode != "constant":
        return op.emit("Pad", op.data, pads, mode=mode)
    return op.emit("Pad", op.data, pads, op.constant(op.attributes.number("constant_value", 0.0), op.data.dtype))


CONVERTERS: dict[str, Converter] = {
    "Concat": concat,
    "Crop": crop,
    "Flatten": flatten,
    "Pad": pad,
    "Reshape": reshape,
    "SliceChannel": split,
    "SwapAxis": swap_axes,
    "_rnn_param_concat": concat_weights,
    "_split_v2": split_at,
    "depth_to_space": block("DepthToSpace"),
    "expand_dims": expand_dims,
    "reshape_like": reshape_like,
    "slice": slice_,
    "slice_axis": slice_axis,
    "slice_like": slice_like,
    "space_to_depth": block("SpaceToDepth"),
    "squeeze": squeeze,
    "stack": stack,
    "transpose": transpose,
}

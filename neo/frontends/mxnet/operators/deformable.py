"""Convolutions with learnt offsets of the sampling points (Dai et al., "Deformable Convolutional Networks", 2017; Zhu
et al., "Deformable ConvNets v2", 2019).

Source: MXNet 1.9.1, src/operator/contrib/nn/deformable_im2col.h and modulated_deformable_im2col.h.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neo.errors import InputSpecError
from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Converter, Operation
from neo.frontends.mxnet.operators.convolution import Window, groups_of, window_of
from neo.frontends.mxnet.operators.spatial import require_reach


def deformable_convolution(op: Operation) -> Value:
    """Samples outside of the image are 0; those between the last pixel's centre and the edge have that pixel's
    value.
    """
    places, inside = _places(op)
    samples = op.emit("Mul", _sampled(op, places, "border"), op.cast(inside, op.data.dtype))
    return _summed(op, samples, 2)


def modulated_deformable_convolution(op: Operation) -> Value:
    """Every sample has a weight of its own. Beyond the last pixels, samples are interpolated with 0."""
    places, _inside = _places(op)
    samples = _sampled(op, places, "zeros")
    groups, (_, _, rows, columns) = _offset_groups(op), op.sizes(op.input(1, "offset"))
    taps = int(np.prod(window_of(op).kernel))
    weights = op.reshape(op.input(2, "mask"), (op.size(op.data, 0) * groups, 1, taps * rows, columns))
    return _summed(op, op.emit("Mul", samples, weights), 3)


def _offset_groups(op: Operation) -> int:
    groups = op.attributes.integer("num_deformable_group", 1)
    if groups < 1 or op.size(op.data, 1) % groups:
        raise op.unsupported(f"num_deformable_group={groups} for {op.data}")
    return groups


def _places(op: Operation) -> tuple[Value, Value]:
    """(Sampling points of all taps in pixels, row before column, (N groups, taps rows, columns, 2); are they inside of
    the image?, (N groups, 1, taps rows, columns)).
    """
    op.require_rank(op.data, 4)
    offsets, window, groups = op.input(1, "offset"), window_of(op), _offset_groups(op)
    op.require_rank(offsets, 4)
    require_reach(op, window.extent, window.pad)
    images, _channels, height, width = op.sizes(op.data)
    base = _undisturbed(window, (height, width))
    taps, _, rows, columns = base.shape
    if offsets.shape != (images, groups * taps * 2, rows, columns):
        raise InputSpecError(f"{op.where} wants {groups * taps * 2} offsets for {rows} x {columns}, found {offsets}")
    dtype = op.data.dtype
    moved = op.emit("Add", op.reshape(offsets, (images * groups, taps, 2, rows, columns)), op.constant(base, dtype))
    places = op.reshape(op.emit("Transpose", moved, perm=(0, 1, 3, 4, 2)), (0, taps * rows, columns, 2))
    beyond = op.emit("Sub", op.constant([height, width], dtype), places)
    least = op.emit("Min", places, op.emit("Sub", beyond, op.constant(np.finfo(dtype).tiny, dtype)))
    inside = op.emit("GreaterOrEqual", op.emit("ReduceMin", least, axes=(3,), keepdims=0), op.constant(0.0, dtype))
    return places, op.emit("Unsqueeze", inside, op.constant([1]))


def _undisturbed(window: Window, size: tuple[int, int]) -> NDArray[np.float64]:
    """(taps, 2, rows, columns): sampling points of a plain convolution."""
    steps = [(size[i] + 2 * window.pad[i] - window.extent[i]) // window.stride[i] + 1 for i in range(2)]
    down, across, row, column = np.indices((*window.kernel, *steps))
    y = row * window.stride[0] - window.pad[0] + down * window.dilate[0]
    x = column * window.stride[1] - window.pad[1] + across * window.dilate[1]
    return np.stack([y, x], axis=2).reshape(-1, 2, *steps).astype(np.float64)


def _sampled(op: Operation, places: Value, padding: str) -> Value:
    """(N groups, channels of a group, taps rows, columns)."""
    images, channels, height, width = op.sizes(op.data)
    groups, dtype = _offset_groups(op), op.data.dtype
    across_and_down = op.emit("Gather", places, op.constant([1, 0]), axis=3)
    # to -1 at the left edge of the first pixel and 1 at the right edge of the last
    scaled = op.emit("Mul", across_and_down, op.constant([2.0 / width, 2.0 / height], dtype))
    grid = op.emit("Add", scaled, op.constant([1.0 / width - 1.0, 1.0 / height - 1.0], dtype))
    data = op.reshape(op.data, (images * groups, channels // groups, height, width))
    return op.emit("GridSample", data, grid, align_corners=0, mode="bilinear", padding_mode=padding)


def _summed(op: Operation, samples: Value, weight_at: int) -> Value:
    """Sum over taps and channels, as a 1x1 convolution with one channel for each sample of an output."""
    images, channels, _height, _width = op.sizes(op.data)
    _, _, rows, columns = op.sizes(op.input(1, "offset"))
    weight = op.input(weight_at, "weight")
    op.require_rank(weight, 4)
    filters, of_group, *kernel = op.sizes(weight)
    group, taps = groups_of(op), int(np.prod(window_of(op).kernel))
    if of_group * group != channels or tuple(kernel) != window_of(op).kernel:
        raise InputSpecError(f"{op.where}: its weight {weight} does not fit {op.data}")
    bias = None if op.attributes.boolean("no_bias", default=False) else op.input(weight_at + 1, "bias")
    stacked = op.reshape(samples, (images, channels * taps, rows, columns))
    return op.emit("Conv", stacked, op.reshape(weight, (filters, of_group * taps, 1, 1)), bias, group=group)


CONVERTERS: dict[str, Converter] = {
    "_contrib_DeformableConvolution": deformable_convolution,
    "_contrib_ModulatedDeformableConvolution": modulated_deformable_convolution,
}

"""Regions pooled from score maps, one map for every bin (Dai et al., "R-FCN", 2016).

Source: MXNet 1.9.1, src/operator/contrib/psroi_pooling.cc.
"""

from __future__ import annotations

import numpy as np

from neo.errors import InputSpecError
from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Converter, Operation
from neo.frontends.mxnet.operators.creation import require_reasonable
from neo.frontends.mxnet.operators.rounding import round_half_away


def position_sensitive_pooling(op: Operation) -> Value:
    """(regions, output_dim, bins, bins): the mean of all elements that a bin touches; 0 for a bin without any.

    Sums over rows are computed as a matrix product: a 0/1 matrix of the rows in each bin times the maps.
    """
    op.require_rank(op.data, 4)
    images, channels, height, width = op.sizes(op.data)
    outputs, bins = op.attributes.integer("output_dim"), op.attributes.integer("pooled_size")
    groups = op.attributes.integer("group_size", 0) or bins
    if min(outputs, bins, groups) < 1 or channels != outputs * groups * groups:
        raise InputSpecError(f"{op.where} wants {outputs} x {groups} x {groups} channels, found {op.data}")
    require_reasonable(op, (bins, bins))
    regions = op.size(op.input(1, "rois"), 0)
    rows, columns = _members(op, 0, bins, height), _members(op, 1, bins, width)
    of_image = op.reshape(op.cast(_of_images(op, images), op.data.dtype), (regions, 1, images, 1))
    chosen = op.emit("Mul", op.reshape(rows, (regions, bins, 1, height)), of_image)
    chosen = op.reshape(op.emit("Transpose", chosen, perm=(1, 0, 2, 3)), (bins, regions, images * height))
    sums = op.emit("MatMul", chosen, _maps(op, outputs, bins, groups))
    sums = op.reshape(sums, (bins, regions, outputs, bins, width))
    sums = op.emit("Mul", sums, op.reshape(columns, (1, regions, 1, bins, width)))
    sums = op.emit("ReduceSum", sums, op.constant([4]), keepdims=0)
    counts = op.emit("Mul", _counts(op, rows, 3), _counts(op, columns, 2))
    counts = op.emit("Max", counts, op.constant(1.0, op.data.dtype))
    return op.emit("Div", op.emit("Transpose", sums, perm=(1, 2, 0, 3)), counts)


def _of_images(op: Operation, images: int) -> Value:
    """Bool (regions, images)."""
    numbers = op.emit("Slice", op.input(1, "rois"), op.constant([0]), op.constant([1]), op.constant([1]))
    return op.emit("Equal", op.cast(numbers, "int64"), op.counting(images))


def _members(op: Operation, axis: int, bins: int, size: int) -> Value:
    """1 or 0, (regions, bins, size): whether a bin touches a row (axis 0) or a column (1)."""
    rois, dtype = op.input(1, "rois"), op.data.dtype
    op.require_rank(rois, 2)
    op.require_size(rois, 1, 5, "numbers per region")
    scale = op.constant(op.attributes.number("spatial_scale"), dtype)
    edges = op.emit("Gather", rois, op.constant([2 - axis, 4 - axis]), axis=1)
    edges = round_half_away(op.with_data(edges))
    # the last row or column belongs to the region
    edges = op.emit("Mul", op.emit("Add", edges, op.constant([0.0, 1.0], dtype)), scale)
    first, last = op.emit_several("Split", 2, edges, op.constant([1, 1]), axis=1)
    length = op.emit("Max", op.emit("Sub", last, first), op.constant(0.1, dtype))
    step = op.emit("Div", length, op.constant(float(bins), dtype))
    begin, end = (
        op.emit("Add", op.emit("Mul", step, op.constant(np.arange(bins)[np.newaxis] + more, dtype)), first)
        for more in (0, 1)
    )
    places = op.cast(op.counting(size, (1, 1, -1)), dtype)
    begin, end = (
        op.emit("Unsqueeze", op.emit(operator, edge), op.constant([2]))
        for operator, edge in (("Floor", begin), ("Ceil", end))
    )
    inside = op.emit("And", op.emit("GreaterOrEqual", places, begin), op.emit("Less", places, end))
    return op.cast(inside, dtype)


def _maps(op: Operation, outputs: int, bins: int, groups: int) -> Value:
    """(bins, images rows, outputs bins columns): for every row of bins, the maps of its bins."""
    images, _channels, height, width = op.sizes(op.data)
    group = [number * groups // bins for number in range(bins)]
    own = op.constant([down * groups + across for down in group for across in group])
    maps = op.reshape(op.data, (images, outputs, groups * groups, height, width))
    maps = op.reshape(op.emit("Gather", maps, own, axis=2), (images, outputs, bins, bins, height, width))
    maps = op.emit("Transpose", maps, perm=(2, 0, 4, 1, 3, 5))
    return op.reshape(maps, (bins, images * height, outputs * bins * width))


def _counts(op: Operation, members: Value, axis: int) -> Value:
    """(regions, 1, bins, 1) of rows (axis 3), (regions, 1, 1, bins) of columns (axis 2)."""
    counts = op.emit("ReduceSum", members, op.constant([2]), keepdims=0)
    return op.emit("Unsqueeze", counts, op.constant([1, axis]))


CONVERTERS: dict[str, Converter] = {"_contrib_PSROIPooling": position_sensitive_pooling}

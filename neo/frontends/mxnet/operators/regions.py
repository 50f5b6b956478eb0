"""Features of regions of interest: rois of (index in the batch, left, top, right, bottom), one per row."""

from __future__ import annotations

import numpy as np

from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Converter, Operation


def _pooled_size(op: Operation) -> tuple[int, int]:
    size = op.attributes.integers("pooled_size")
    if len(size) not in {1, 2} or min(size) < 1:
        raise op.unsupported(f"pooled_size={size}")
    return size[0], size[-1]


def roi_pooling(op: Operation) -> Value:
    op.require_rank(op.data, 4)
    rois = _rois(op)
    scale = op.attributes.number("spatial_scale")
    return op.emit("MaxRoiPool", op.data, rois, pooled_shape=_pooled_size(op), spatial_scale=scale)


def _rois(op: Operation) -> Value:
    rois = op.input(1, "rois")
    op.require_rank(rois, 2)
    op.require_size(rois, 1, 5, "numbers per region")
    return rois


def roi_align(op: Operation) -> Value:
    op.require_rank(op.data, 4)
    rois, (height, width) = _rois(op), _pooled_size(op)
    numbers, boxes = op.emit_several("Split", 2, rois, op.constant([1, 4]), axis=1)
    aligned = op.attributes.boolean("aligned", default=False)
    pooled = op.emit(
        "RoiAlign",
        op.data,
        boxes,
        op.cast(op.emit("Squeeze", numbers, op.constant([1])), "int64"),
        mode="avg",
        output_height=height,
        output_width=width,
        sampling_ratio=max(0, op.attributes.integer("sample_ratio", -1)),
        spatial_scale=op.attributes.number("spatial_scale"),
        coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
    )
    if not op.attributes.boolean("position_sensitive", default=False):
        return pooled
    return _every_bin_from_its_channel(op, pooled)


def _every_bin_from_its_channel(op: Operation, pooled: Value) -> Value:
    """(regions, channels bins, height, width) -> (regions, channels, height, width)."""
    regions, channels, height, width = op.sizes(pooled)
    bins = height * width
    if channels % bins:
        raise op.unsupported(f"{channels} channels for {bins} bins")
    flat = op.reshape(pooled, (regions, channels // bins, bins * bins))
    own = op.emit("Gather", flat, op.constant(np.arange(bins) * (bins + 1)), axis=2)
    return op.reshape(own, (regions, channels // bins, height, width))


CONVERTERS: dict[str, Converter] = {"ROIPooling": roi_pooling, "_contrib_ROIAlign": roi_align}

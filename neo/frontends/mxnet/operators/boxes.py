"""Anchors, and boxes relative to them: four numbers, corners (left, top, right, bottom) or (x, y, width, height).

Source: MXNet 1.9.1, src/operator/contrib/multibox_prior.cc and bounding_box-inl.h.
"""

from __future__ import annotations

import math

import numpy as np

from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Converter, Operation
from neo.frontends.mxnet.operators.creation import require_reasonable

FORMATS = ("corner", "center")


def multibox_prior(op: Operation) -> Value:
    """(1, H W (sizes + ratios - 1), 4): the anchors depend on the size of the feature map only."""
    op.require_rank(op.data, 4)
    height, width = op.size(op.data, 2), op.size(op.data, 3)
    sizes, ratios = op.attributes.numbers("sizes", (1.0,)), op.attributes.numbers("ratios", (1.0,))
    steps, offsets = op.attributes.numbers("steps", (-1.0, -1.0)), op.attributes.numbers("offsets", (0.5, 0.5))
    positive = all(0 < number < math.inf for number in (*sizes, *ratios))
    if not sizes or not ratios or not positive or len(steps) != 2 or len(offsets) != 2:
        raise op.unsupported(f"sizes={sizes}, ratios={ratios}, steps={steps}, offsets={offsets}")
    # all sizes with the first ratio, then the other ratios with the first size; a square one is square in pixels
    pairs = [(size, ratios[0]) for size in sizes] + [(sizes[0], ratio) for ratio in ratios[1:]]
    require_reasonable(op, (height, width, len(pairs), 4))
    half = np.array([(s * height / width * math.sqrt(r) / 2, s / math.sqrt(r) / 2) for s, r in pairs])
    step_y, step_x = (step if step > 0 else 1.0 / side for step, side in zip(steps, (height, width), strict=True))
    y, x = np.meshgrid(
        (np.arange(height) + offsets[0]) * step_y, (np.arange(width) + offsets[1]) * step_x, indexing="ij"
    )
    centres = np.stack([x, y], axis=-1)[:, :, np.newaxis]
    anchors = np.concatenate([centres - half, centres + half], axis=-1).reshape(1, -1, 4)
    clipped = np.clip(anchors, 0.0, 1.0) if op.attributes.boolean("clip", default=False) else anchors
    return op.constant(clipped, op.data.dtype)


def split_columns(op: Operation, boxes: Value) -> tuple[Value, ...]:
    """Four tensors with a last dimension of 1."""
    op.require_size(boxes, op.axis(-1, boxes.rank), 4, "numbers per box")
    return op.emit_several("Split", 4, boxes, op.constant([1] * 4), axis=boxes.rank - 1)


def corners_of(op: Operation, boxes: Value) -> Value:
    """From (x, y, width, height)."""
    x, y, width, height = split_columns(op, boxes)
    half = op.constant(0.5, boxes.dtype)
    right, down = op.emit("Mul", width, half), op.emit("Mul", height, half)
    edges = (op.emit(sign, *pair) for sign in ("Sub", "Add") for pair in ((x, right), (y, down)))
    return op.emit("Concat", *edges, axis=boxes.rank - 1)


def centres_of(op: Operation, boxes: Value) -> Value:
    """From corners."""
    left, top, right, bottom = split_columns(op, boxes)
    half = op.constant(0.5, boxes.dtype)
    middle = (op.emit("Mul", op.emit("Add", *pair), half) for pair in ((left, right), (top, bottom)))
    extent = (op.emit("Sub", *pair) for pair in ((right, left), (bottom, top)))
    return op.emit("Concat", *middle, *extent, axis=boxes.rank - 1)


def decoded(op: Operation, offsets: Value, anchors: Value, scales: tuple[float, ...], limit: float = -1.0) -> Value:
    """Corners from offsets relative to anchors in (x, y, width, height).

    limit: what the logarithm of a size relative to the anchor's is at most, if it is positive.
    """
    scaled = op.emit("Mul", offsets, op.constant(scales, offsets.dtype))
    shift, growth = op.emit_several("Split", 2, scaled, op.constant([2, 2]), axis=scaled.rank - 1)
    centre, extent = op.emit_several("Split", 2, anchors, op.constant([2, 2]), axis=anchors.rank - 1)
    if limit > 0.0:
        growth = op.emit("Min", growth, op.constant(limit, growth.dtype))
    middle = op.emit("Add", op.emit("Mul", shift, extent), centre)
    half = op.emit("Mul", op.emit("Mul", op.emit("Exp", growth), extent), op.constant(0.5, growth.dtype))
    return op.emit("Concat", op.emit("Sub", middle, half), op.emit("Add", middle, half), axis=middle.rank - 1)


def box_decode(op: Operation) -> Value:
    anchors = op.input(1, "anchors")
    op.require_rank(op.data, 3)
    op.require_size(op.data, 2, 4, "numbers per box")
    op.require_size(anchors, op.axis(-1, anchors.rank), 4, "numbers per anchor")
    if op.attributes.choice("format", FORMATS, "center") == "corner":
        anchors = centres_of(op, anchors)
    scales = tuple(op.attributes.number(f"std{number}", 1.0) for number in range(4))
    return decoded(op, op.data, anchors, scales, op.attributes.number("clip", -1.0))


def box_iou(op: Operation) -> Value:
    """Of every box on the left with every box on the right: the shapes without the last axis, one after the other."""
    left, right = op.data, op.input(1, "rhs")
    if op.attributes.choice("format", FORMATS, "corner") == "center":
        left, right = corners_of(op, left), corners_of(op, right)
    if min(left.rank, right.rank) < 2:
        raise op.unsupported(f"boxes {left} and {right}")
    left = op.emit("Unsqueeze", left, op.constant(range(left.rank - 1, left.rank + right.rank - 2)))
    (l0, t0, r0, b0), (l1, t1, r1, b1) = split_columns(op, left), split_columns(op, right)
    zero = op.constant(0.0, left.dtype)
    wide = op.emit("Max", op.emit("Sub", op.emit("Min", r0, r1), op.emit("Max", l0, l1)), zero)
    high = op.emit("Max", op.emit("Sub", op.emit("Min", b0, b1), op.emit("Max", t0, t1)), zero)
    common = op.emit("Mul", wide, high)
    areas = op.emit("Add", _area(op, l0, t0, r0, b0), _area(op, l1, t1, r1, b1))
    whole = op.emit("Sub", areas, common)
    # where nothing is common the areas may be 0 too
    ratio = op.emit(
        "Div", common, op.emit("Where", op.emit("Greater", common, zero), whole, op.constant(1.0, zero.dtype))
    )
    return op.emit("Squeeze", ratio, op.constant([ratio.rank - 1]))


def _area(op: Operation, left: Value, top: Value, right: Value, bottom: Value) -> Value:
    zero = op.constant(0.0, left.dtype)
    return op.emit(
        "Mul",
        op.emit("Max", op.emit("Sub", right, left), zero),
        op.emit("Max", op.emit("Sub", bottom, top), zero),
    )


CONVERTERS: dict[str, Converter] = {
    "_contrib_MultiBoxPrior": multibox_prior,
    "_contrib_box_decode": box_decode,
    "_contrib_box_iou": box_iou,
}

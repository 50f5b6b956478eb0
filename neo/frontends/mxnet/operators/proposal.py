"""Region proposals (Ren et al., "Faster R-CNN", 2015).

Source: MXNet 1.9.1, src/operator/contrib/proposal-inl.h, proposal.cc and multi_proposal.cc.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neo.errors import InputSpecError
from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Converter, Operation
from neo.frontends.mxnet.operators.creation import require_reasonable
from neo.frontends.mxnet.operators.detection import NO_SCORE


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Boxes with scores."""

    #: left upper corners (N, n, 2), x before y
    first: Value
    #: right lower corners, likewise
    last: Value
    #: (N, n)
    scores: Value


MAX_STRIDE = 1 << 15
SCALES, RATIOS = (4.0, 8.0, 16.0, 32.0), (0.5, 1.0, 2.0)


def proposal(op: Operation) -> Value | tuple[Value, Value]:
    """Rows of (index in the batch, left, top, right, bottom), rpn_post_nms_top_n for each image, best first. If there
    are fewer, they are repeated. Also their scores, if the model asks for them.

    Inputs: (N, 2 anchors, H, W) scores, (N, 4 anchors, H, W) offsets, (N, 3) height, width and scale of the images.
    """
    op.require_rank(op.data, 4)
    images, channels, height, width = op.sizes(op.data)
    stride = op.attributes.integer("feature_stride", 16)
    shapes = _anchors(op, stride)
    require_reasonable(op, (images, height, width, len(shapes)))
    if channels != 2 * len(shapes):
        raise InputSpecError(f"{op.where} has {len(shapes)} anchors, which want {2 * len(shapes)} scores: {op.data}")
    rows, columns, _ = np.mgrid[0:height, 0:width, 0 : len(shapes)]
    places = np.stack([columns, rows], axis=-1).reshape(1, -1, 2)
    anchors = np.tile(shapes, (height * width, 1))[np.newaxis] + stride * np.tile(places, 2)
    candidates = _sorted(op, _judged(op, _boxes(op, anchors), places, stride))
    chosen = [_chosen(op, _of_image(op, candidates, number), number) for number in range(images)]
    regions, marks = (op.emit("Concat", *parts, axis=0) for parts in zip(*chosen, strict=True))
    return (regions, marks) if op.attributes.boolean("output_score", default=False) else regions


def _anchors(op: Operation, stride: int) -> NDArray[np.float64]:
    """(anchors, 4): corners around the first place, for every ratio all scales."""
    ratios, scales = op.attributes.numbers("ratios", RATIOS), op.attributes.numbers("scales", SCALES)
    if not 0 < stride < MAX_STRIDE or not all(0 < number < math.inf for number in (*ratios, *scales)):
        raise op.unsupported(f"feature_stride={stride}, ratios={ratios}, scales={scales}")
    centre, found = 0.5 * (stride - 1), []
    for ratio in ratios:
        side = math.floor(math.sqrt(math.floor(stride * stride / ratio)) + 0.5)
        other = math.floor(side * ratio + 0.5)
        for scale in scales:
            half = 0.5 * (np.array([side, other]) * scale - 1.0)
            found.append([*(centre - half), *(centre + half)])
    return np.array(found)


def _boxes(op: Operation, anchors: NDArray[np.float64]) -> tuple[Value, Value]:
    """First and last corners (N, n, 2) of the anchors moved by the network's offsets, inside the image."""
    offsets, dtype = op.input(1, "bbox_pred"), op.data.dtype
    op.require_rank(offsets, 4)
    images, channels, height, width = op.sizes(op.data)
    op.require_size(offsets, 1, 2 * channels, "offsets")
    by_anchor = op.reshape(offsets, (images, channels // 2, 4, height, width))
    offsets = op.reshape(op.emit("Transpose", by_anchor, perm=(0, 3, 4, 1, 2)), (images, -1, 4))
    near, far = op.emit_several("Split", 2, offsets, op.constant([2, 2]), axis=2)
    if op.attributes.boolean("iou_loss", default=False):
        first, last = (
            op.emit("Add", part, op.constant(corner, dtype))
            for part, corner in ((near, anchors[..., :2]), (far, anchors[..., 2:]))
        )
    else:
        size = anchors[..., 2:] - anchors[..., :2] + 1.0
        centre = anchors[..., :2] + 0.5 * (size - 1.0)
        sizes, one = op.constant(size, dtype), op.constant(1.0, dtype)
        middle = op.emit("Add", op.emit("Mul", near, sizes), op.constant(centre, dtype))
        spans = op.emit("Mul", op.emit("Exp", far), sizes)
        half = op.emit("Mul", op.emit("Sub", spans, one), op.constant(0.5, dtype))
        first, last = op.emit("Sub", middle, half), op.emit("Add", middle, half)
    limit = op.emit("Sub", _image_sizes(op), op.constant(1.0, dtype))
    zero = op.constant(0.0, dtype)
    first, last = (op.emit("Max", op.emit("Min", corner, limit), zero) for corner in (first, last))
    return first, last


def _image_sizes(op: Operation) -> Value:
    """(N, 1, 2): width and height."""
    op.require_rank(op.input(2, "im_info"), 2)
    return op.emit(
        "Unsqueeze", op.emit("Gather", op.input(2, "im_info"), op.constant([1, 0]), axis=1), op.constant([1])
    )


def _judged(op: Operation, boxes: tuple[Value, Value], places: NDArray[np.int64], stride: int) -> _Candidates:
    """Boxes that are too small are enlarged. These and boxes in the padding beside an image get a score of -1."""
    images, channels, _height, _width = op.sizes(op.data)
    dtype, last_axis = op.data.dtype, op.constant([2])
    scores = op.emit("Slice", op.data, op.constant([channels // 2]), op.constant([channels]), op.constant([1]))
    scores = op.reshape(op.emit("Transpose", scores, perm=(0, 2, 3, 1)), (images, -1))
    real = op.emit("Floor", op.emit("Div", _image_sizes(op), op.constant(float(stride), dtype)))
    inside = op.emit("Sub", real, op.constant(places, dtype))
    inside = op.emit("Greater", op.emit("ReduceMin", inside, axes=(2,), keepdims=0), op.constant(0.0, dtype))
    scale = op.emit("Unsqueeze", op.emit("Gather", op.input(2, "im_info"), op.constant([2]), axis=1), last_axis)
    least = op.emit("Mul", scale, op.constant(op.attributes.integer("rpn_min_size", 16), dtype))
    first, last = boxes
    sides = op.emit("Add", op.emit("Sub", last, first), op.constant(1.0, dtype))
    small = op.emit("Less", op.emit("ReduceMin", sides, axes=(2,), keepdims=1), least)
    margin = op.emit("Mul", least, op.constant(0.5, dtype))
    first = op.emit("Where", small, op.emit("Sub", first, margin), first)
    last = op.emit("Where", small, op.emit("Add", last, margin), last)
    good = op.emit("And", inside, op.emit("Not", op.emit("Squeeze", small, last_axis)))
    return _Candidates(first, last, op.emit("Where", good, scores, op.constant(-1.0, dtype)))


def _sorted(op: Operation, candidates: _Candidates) -> _Candidates:
    """The best ones, best first."""
    count, top = op.size(candidates.scores, 1), op.attributes.integer("rpn_pre_nms_top_n", 6000)
    kept = op.constant([min(top, count) if top > 0 else count])
    best, positions = op.emit_several("TopK", 2, candidates.scores, kept, axis=1)
    rows = op.emit("Unsqueeze", positions, op.constant([2]))
    first, last = (op.emit("GatherND", corner, rows, batch_dims=1) for corner in (candidates.first, candidates.last))
    return _Candidates(first, last, best)


def _of_image(op: Operation, candidates: _Candidates, number: int) -> _Candidates:
    values = (candidates.first, candidates.last, candidates.scores)
    return _Candidates(*(op.emit("Gather", value, op.constant([number]), axis=0) for value in values))


def _chosen(op: Operation, candidates: _Candidates, number: int) -> tuple[Value, Value]:
    """Regions (wanted, 5) and their scores (wanted, 1) of the image with this number."""
    wanted, dtype = op.attributes.integer("rpn_post_nms_top_n", 300), op.data.dtype
    if wanted < 1:
        raise op.unsupported(f"rpn_post_nms_top_n={wanted}")
    first, last, scores = candidates.first, candidates.last, candidates.scores
    # a box of one pixel has a size of 1 there, of 0 here
    beyond = op.emit("Add", last, op.constant(1.0, dtype))
    kept = op.emit(
        "NonMaxSuppression",
        op.cast(op.emit("Concat", first, beyond, axis=2), "float32"),
        op.cast(op.emit("Unsqueeze", scores, op.constant([1])), "float32"),
        op.constant([min(wanted, op.size(scores, 1))]),
        op.constant([op.attributes.number("threshold", 0.7)], "float32"),
        op.constant([NO_SCORE], "float32"),
    )
    kept = op.emit("Gather", kept, op.constant(2), axis=1)
    kept = op.emit("Gather", kept, op.emit("Mod", op.counting(wanted), op.emit("Shape", kept)), axis=0)
    boxes = op.emit("Squeeze", op.emit("Concat", first, last, axis=2), op.constant([0]))
    index = op.constant(np.full((wanted, 1), number), dtype)
    regions = op.emit("Concat", index, op.emit("Gather", boxes, kept, axis=0), axis=1)
    return regions, op.emit("Gather", op.reshape(scores, (-1, 1)), kept, axis=0)


CONVERTERS: dict[str, Converter] = {"_contrib_MultiProposal": proposal, "_contrib_Proposal": proposal}

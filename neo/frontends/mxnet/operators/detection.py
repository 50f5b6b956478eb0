"""Boxes with a class and a score, of which those that overlap a better one are suppressed.

Source: MXNet 1.9.1, src/operator/contrib/multibox_detection.cc, bounding_box-inl.h and bounding_box-common.h.
"""

from __future__ import annotations

import numpy as np

from neo.errors import InputSpecError
from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Converter, Operation
from neo.frontends.mxnet.operators.boxes import FORMATS, centres_of, corners_of, decoded

# below every score; what has it is no candidate
NO_SCORE = float(np.finfo(np.float32).min)


def multibox_detection(op: Operation) -> Value:
    """(N, anchors, 6): class, score and corners; class -1 where there is no box or a better one.

    Rows with a class come first, then come -1; with non-maximum suppression the best nms_topk of them are sorted.
    Rows beyond nms_topk keep their place with class -1.
    """
    probabilities, offsets, anchors = op.data, op.input(1, "loc_pred"), op.input(2, "anchor")
    op.require_rank(probabilities, 3)
    op.require_rank(anchors, 3)
    _, classes, count = op.sizes(probabilities)
    if classes < 2:
        raise InputSpecError(f"{op.where} wants a class beside the background, found {probabilities}")
    scores, identities = _best_class(op, probabilities, classes)
    corners = _boxes(op, op.reshape(offsets, (0, count, 4)), anchors)
    rows = op.emit("Concat", op.cast(identities, scores.dtype), scores, corners, axis=2)
    threshold = op.constant(op.attributes.number("threshold", 0.01), scores.dtype)
    valid = op.emit("Squeeze", op.emit("GreaterOrEqual", scores, threshold), op.constant([2]))
    packed = _packed(op, rows, valid)
    overlap = op.attributes.number("nms_threshold", 0.5)
    if not 0.0 < overlap <= 1.0:
        return packed
    # the same test as theirs: here a box goes if it overlaps by more than the threshold, there if by as much
    overlap = float(np.nextafter(np.float32(overlap), np.float32(0.0)))
    return _suppressed_in_place(op, packed, overlap, classes - 1)


def _best_class(op: Operation, probabilities: Value, classes: int) -> tuple[Value, Value]:
    """Scores and classes (from 0) of every anchor, (N, anchors, 1); class 0 of the probabilities is background."""
    foreground = op.emit("Slice", probabilities, op.constant([1]), op.constant([classes]), op.constant([1]))
    by_anchor = op.emit("Transpose", foreground, perm=(0, 2, 1))
    return (
        op.emit("ReduceMax", by_anchor, axes=(2,), keepdims=1),
        op.emit("ArgMax", by_anchor, axis=2, keepdims=1),
    )


def _boxes(op: Operation, offsets: Value, anchors: Value) -> Value:
    variances = op.attributes.numbers("variances", (0.1, 0.1, 0.2, 0.2))
    if len(variances) != 4:
        raise op.unsupported(f"variances={variances}")
    corners = decoded(op, offsets, centres_of(op, anchors), variances)
    if not op.attributes.boolean("clip", default=True):
        return corners
    return op.emit("Clip", corners, op.constant(0.0, corners.dtype), op.constant(1.0, corners.dtype))


def _packed(op: Operation, rows: Value, chosen: Value) -> Value:
    """The chosen rows (N, n, width) first, in their order; -1 in the others. chosen: bool (N, n)."""
    count = op.size(rows, 1)
    order = op.constant(np.arange(count, 0, -1), "float32")
    keys = op.emit("Where", chosen, order, op.constant(0.0, "float32"))
    keys, positions = op.emit_several("TopK", 2, keys, op.constant([count]), axis=1)
    present = op.emit("Unsqueeze", op.emit("Greater", keys, op.constant(0.0, "float32")), op.constant([2]))
    return op.emit("Where", present, _rows_at(op, rows, positions), op.constant(-1.0, rows.dtype))


def _rows_at(op: Operation, rows: Value, positions: Value) -> Value:
    """Rows (N, n, width) at positions (N, m)."""
    return op.emit("GatherND", rows, op.emit("Unsqueeze", positions, op.constant([2])), batch_dims=1)


def _column(op: Operation, rows: Value, start: int, width: int = 1) -> Value:
    return op.emit("Slice", rows, op.constant([start]), op.constant([start + width]), op.constant([2]))


def _suppressed_in_place(op: Operation, packed: Value, overlap: float, classes: int) -> Value:
    count = op.size(packed, 1)
    top = op.attributes.integer("nms_topk", -1)
    top = top if 0 < top < count else count
    zero = op.constant(0.0, packed.dtype)
    present = op.emit("Greater", _column(op, packed, 0), op.constant(-1.0, packed.dtype))
    scores = op.emit("Where", present, _column(op, packed, 1), op.constant(NO_SCORE, packed.dtype))
    scores, positions = op.emit_several(
        "TopK", 2, op.emit("Squeeze", scores, op.constant([2])), op.constant([top]), axis=1
    )
    rows = _rows_at(op, packed, positions)
    identities, corners = _column(op, rows, 0), _column(op, rows, 2, 4)
    separate = not op.attributes.boolean("force_suppress", default=False)
    per_class = (
        _scores_per_class(op, scores, identities, classes)
        if separate
        else op.emit("Unsqueeze", scores, op.constant([1]))
    )
    kept = _kept(op, corners, per_class, NO_SCORE / 2, overlap)
    kept = op.emit("Unsqueeze", kept, op.constant([2]))
    identities = op.emit("Where", kept, identities, op.constant(-1.0, packed.dtype))
    best = op.emit("Concat", identities, _column(op, rows, 1, 5), axis=2)
    if top == count:
        return best
    rest = op.emit("Slice", packed, op.constant([top]), op.constant([count]), op.constant([1]))
    without_class = op.emit("Sub", op.emit("Mul", _column(op, rest, 0), zero), op.constant(1.0, packed.dtype))
    rest = op.emit("Concat", without_class, _column(op, rest, 1, 5), axis=2)
    return op.emit("Concat", best, rest, axis=1)


def _scores_per_class(op: Operation, scores: Value, identities: Value, classes: int) -> Value:
    """(N, classes, n) from (N, n) and (N, n, 1): a box has a score in its own class only."""
    own = op.emit("Equal", op.cast(identities, "int64"), op.counting(classes))
    own = op.emit("Transpose", own, perm=(0, 2, 1))
    scores = op.emit("Unsqueeze", scores, op.constant([1]))
    return op.emit("Where", own, scores, op.constant(NO_SCORE, scores.dtype))


def _kept(op: Operation, corners: Value, scores: Value, lowest: float, overlap: float) -> Value:
    """Bool (N, n): which boxes (N, n, 4) no better one of their class overlaps. scores: (N, classes, n)."""
    if corners.dtype != "float32":
        corners, scores = op.cast(corners, "float32"), op.cast(scores, "float32")
    count = op.size(corners, 1)
    chosen = op.emit(
        "NonMaxSuppression",
        corners,
        scores,
        op.constant([count]),
        op.constant([overlap], "float32"),
        op.constant([lowest], "float32"),
    )
    # a chosen box is (example, class, box); the class does not matter any more
    places = op.emit("Gather", chosen, op.constant([0, 2]), axis=1)
    ones = op.emit("Greater", op.emit("Gather", chosen, op.constant(0), axis=1), op.constant(-1))
    none = op.expanded_like(op.constant(False, "bool"), op.emit("ReduceMax", corners, axes=(2,), keepdims=0))
    return op.emit("ScatterND", none, places, ones)


def box_nms(op: Operation) -> Value:
    """Rows that are no candidates or are suppressed become -1, the others come first, best score first."""
    rows = op.data
    if rows.rank < 2:
        raise InputSpecError(f"{op.where} wants boxes in rows, found {rows}")
    width, count = op.size(rows, rows.rank - 1), op.size(rows, rows.rank - 2)
    score_at, box_at = op.attributes.integer("score_index", 1), op.attributes.integer("coord_start", 2)
    id_at = op.attributes.integer("id_index", -1)
    if not 0 <= score_at < width or not 0 <= box_at <= width - 4 or id_at >= width:
        raise InputSpecError(f"{op.where}: score_index={score_at}, coord_start={box_at}, id_index={id_at} of {rows}")
    top = op.attributes.integer("topk", -1)
    if top == 0:
        return rows
    rows = op.reshape(rows, (-1, count, width)) if rows.rank != 3 else rows
    scores, corners = _candidates(op, rows, score_at, id_at), _column(op, rows, box_at, 4)
    best = op.emit_several("TopK", 2, scores, op.constant([min(top, count) if top > 0 else count]), axis=1)
    if op.attributes.choice("in_format", FORMATS, "corner") == "center":
        corners = corners_of(op, corners)
    if id_at >= 0 and not op.attributes.boolean("force_suppress", default=False):
        corners = _apart_by_class(op, corners, _column(op, rows, id_at))
    scores, positions = best
    kept = _kept(
        op,
        _rows_at(op, corners, positions),
        op.emit("Unsqueeze", scores, op.constant([1])),
        op.attributes.number("valid_thresh", 0.0),
        op.attributes.number("overlap_thresh", 0.5),
    )
    result = _padded(op, _packed(op, _rows_at(op, rows, positions), kept), count)
    result = _in_output_format(op, result, box_at)
    return result if op.data.rank == 3 else op.reshape(result, op.sizes(op.data))


def _candidates(op: Operation, rows: Value, score_at: int, id_at: int) -> Value:
    """(N, n): the scores, the lowest possible for boxes of the background."""
    scores = _column(op, rows, score_at)
    if id_at >= 0:
        background = op.constant(op.attributes.integer("background_id", -1), rows.dtype)
        is_background = op.emit("Equal", _column(op, rows, id_at), background)
        scores = op.emit("Where", is_background, op.constant(NO_SCORE, rows.dtype), scores)
    return op.emit("Squeeze", scores, op.constant([2]))


def _apart_by_class(op: Operation, corners: Value, identities: Value) -> Value:
    """Boxes of different classes moved so far apart that none overlaps another."""
    highest = op.emit("ReduceMax", corners, axes=(1, 2), keepdims=1)
    lowest = op.emit("ReduceMin", corners, axes=(1, 2), keepdims=1)
    span = op.emit("Add", op.emit("Sub", highest, lowest), op.constant(1.0, corners.dtype))
    return op.emit("Add", corners, op.emit("Mul", identities, span))


def _padded(op: Operation, rows: Value, count: int) -> Value:
    missing = count - op.size(rows, 1)
    if not missing:
        return rows
    return op.emit("Pad", rows, op.constant([0, 0, 0, 0, missing, 0]), op.constant(-1.0, rows.dtype))


def _in_output_format(op: Operation, rows: Value, box_at: int) -> Value:
    """MXNet leaves boxes whose first number is negative as they are."""
    given = op.attributes.choice("in_format", FORMATS, "corner")
    if given == op.attributes.choice("out_format", FORMATS, "corner"):
        return rows
    width = op.size(rows, 2)
    boxes = _column(op, rows, box_at, 4)
    converted = corners_of(op, boxes) if given == "center" else centres_of(op, boxes)
    negative = op.emit("Less", _column(op, rows, box_at), op.constant(0.0, rows.dtype))
    parts = [_column(op, rows, 0, box_at)] if box_at else []
    parts.append(op.emit("Where", negative, boxes, converted))
    if box_at + 4 < width:
        parts.append(_column(op, rows, box_at + 4, width - box_at - 4))
    return op.emit("Concat", *parts, axis=2) if len(parts) > 1 else parts[0]


CONVERTERS: dict[str, Converter] = {
    "_contrib_MultiBoxDetection": multibox_detection,
    "_contrib_box_nms": box_nms,
}

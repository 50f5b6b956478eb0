"""Non-maximum suppression: of overlapping boxes only the one with the highest score is kept, up to a fixed number.

Source: the ONNX operator NonMaxSuppression. For each class, boxes are taken in descending order of score. One is
dropped if it overlaps a kept one by more than ``iou``, or if its score is not above ``score``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neo.contract.labels import BY_VALUE
from neo.contract.tensors import TensorSpec
from neo.errors import UsageError
from neo.processing.answer.scores import sigmoid
from neo.processing.answer.state import Answer, Arrays, known
from neo.processing.tables import Table

if TYPE_CHECKING:
    from neo.processing.graph import Graph

CORNERS = "xyxy"
CENTRE = "cxcywh"
ROWS = "boxes-first"
COLUMNS = "values-first"
OUTPUTS = ("boxes", "scores", "classes", "count")


@dataclass(frozen=True, slots=True)
class NonMaximumSuppression:
    """Works on two outputs, boxes (N, boxes, 4) and scores (N, boxes, classes), or on one, (N, boxes, 4 + classes).

    Answers: boxes float32 (N, count, 4) as corners, in the model's units; scores float32 (N, count), descending;
    classes int64 (N, count); count int64 (N,), the number of boxes found. The rest has score 0, class -1 and zeros as
    corners.
    """

    #: of the boxes: corners, or centre and size
    format: str
    #: values-first if the last two axes are the other way round
    layout: str
    #: is the first score that of any object at all? It then multiplies the others
    objectness: bool
    #: of the scores: none, sigmoid or softmax
    activation: str
    #: largest overlap of two boxes that are both kept
    iou: float
    #: boxes with no higher score are dropped
    score: float
    #: boxes in the answer
    count: int

    def after(self, answers: tuple[Answer, ...]) -> tuple[Answer, ...]:
        batch, classes = self._check([answer.spec for answer in answers])
        boxes, scores, numbers, count = OUTPUTS
        return (
            Answer(TensorSpec(boxes, "float32", (batch, self.count, 4))),
            Answer(TensorSpec(scores, "float32", (batch, self.count))),
            Answer(TensorSpec(numbers, "int64", (batch, self.count)), BY_VALUE, classes),
            Answer(TensorSpec(count, "int64", (batch,))),
        )

    def emit(self, graph: Graph, values: tuple[str, ...], answers: tuple[Answer, ...]) -> tuple[str, ...]:
        batch, _ = self._check([answer.spec for answer in answers])
        boxes, scores = self._emit_split(graph, values, [answer.spec for answer in answers])
        by_class = graph.add("Transpose", scores, perm=[0, 2, 1])
        limits = (graph.whole(self.count), graph.constant([self.iou]), graph.constant([self.score]))
        kept = graph.add("NonMaxSuppression", boxes, by_class, *limits)  # int64 (kept, 3): batch, class, box
        zero = graph.whole(1)
        batches = graph.add("Squeeze", graph.slice(kept, 1, 0, 1), zero)
        classes = graph.add("Squeeze", graph.slice(kept, 1, 1, 2), zero)
        at = graph.add("Gather", kept, graph.whole(0, 2), axis=1)
        found_boxes = graph.add("GatherND", boxes, at)
        found_scores = graph.add("GatherND", by_class, kept)
        # each image has a row with the boxes of all images, those of the others with a score below all; then come
        # zeros, which fill up the answer
        mine = graph.add("Equal", graph.add("Unsqueeze", batches, graph.whole(0)), _column(graph, batch))
        rows = graph.add("Where", mine, found_scores, graph.constant(np.array(-1.0)))
        filled = graph.add("Concat", rows, graph.constant(np.zeros((batch, self.count))), axis=1)
        best, index = graph.add_many("TopK", (filled, graph.whole(self.count)), 2, axis=1)
        no_class = graph.constant(np.full(self.count, -1), "int64")
        no_box = graph.constant(np.zeros((self.count, 4)))
        best_boxes = graph.add("Gather", graph.add("Concat", found_boxes, no_box, axis=0), index, axis=0)
        best_classes = graph.add("Gather", graph.add("Concat", classes, no_class, axis=0), index, axis=0)
        real = graph.cast(graph.add("Greater", best, graph.constant(np.array(0.0))), "int64")
        return best_boxes, best, best_classes, graph.add("ReduceSum", real, graph.whole(1), keepdims=0)

    def reference(self, arrays: Arrays) -> Arrays:
        if self.layout == COLUMNS:
            arrays = tuple(array.swapaxes(1, 2) for array in arrays)
        boxes, scores = arrays if len(arrays) == 2 else (arrays[0][..., :4], arrays[0][..., 4:])
        boxes, scores = boxes.astype(np.float64), _activated(scores.astype(np.float64), self.activation)
        if self.objectness:
            scores = scores[..., 1:] * scores[..., :1]
        if self.format == CENTRE:
            half = boxes[..., 2:] / 2
            boxes = np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], axis=-1)
        images = [self._suppress(boxes[i], scores[i]) for i in range(len(boxes))]
        found_boxes, found_scores, found_classes, counts = zip(*images, strict=True)
        return np.stack(found_boxes), np.stack(found_scores), np.stack(found_classes), np.array(counts)

    def _suppress(
        self, boxes: NDArray[np.float64], scores: NDArray[np.float64]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], int]:
        kept: list[tuple[float, int, int]] = []
        for number in range(scores.shape[1]):
            mine: list[int] = []
            for box in np.argsort(-scores[:, number], kind="stable"):
                if scores[box, number] <= self.score or len(mine) == self.count:
                    break
                if all(_overlap(boxes[box], boxes[other]) <= self.iou for other in mine):
                    mine.append(int(box))
            kept += [(-float(scores[box, number]), number, box) for box in mine]
        kept = sorted(kept)[: self.count]
        out_boxes, out_scores = np.zeros((self.count, 4)), np.zeros(self.count)
        out_classes = np.full(self.count, -1, np.int64)
        for place, (negative, number, box) in enumerate(kept):
            out_boxes[place], out_scores[place], out_classes[place] = boxes[box], -negative, number
        return out_boxes, out_scores, out_classes, len(kept)

    def _emit_split(self, graph: Graph, values: tuple[str, ...], specs: list[TensorSpec]) -> tuple[str, str]:
        """-> boxes (N, boxes, 4) as corners and scores (N, boxes, classes), float32."""
        floats = [v if s.dtype == "float32" else graph.cast(v, "float32") for v, s in zip(values, specs, strict=True)]
        if self.layout == COLUMNS:
            floats = [graph.add("Transpose", value, perm=[0, 2, 1]) for value in floats]
        end = 1 << 31
        boxes, scores = floats if len(floats) == 2 else [graph.slice(floats[0], 2, *at) for at in ((0, 4), (4, end))]
        if self.activation != "none":
            sigmoid_or_softmax = {"sigmoid": "Sigmoid", "softmax": "Softmax"}[self.activation]
            scores = graph.add(sigmoid_or_softmax, scores, **({"axis": 2} if self.activation == "softmax" else {}))
        if self.objectness:
            scores = graph.add("Mul", graph.slice(scores, 2, 1, end), graph.slice(scores, 2, 0, 1))
        if self.format == CENTRE:
            half = graph.add("Mul", graph.slice(boxes, 2, 2, 4), graph.constant(np.array(0.5)))
            centre = graph.slice(boxes, 2, 0, 2)
            corners = graph.add("Sub", centre, half), graph.add("Add", centre, half)
            boxes = graph.add("Concat", *corners, axis=2)
        return boxes, scores

    def _check(self, specs: list[TensorSpec]) -> tuple[int, int]:
        """-> (batch, classes)."""
        found = "  ".join(map(str, specs))
        if not 1 <= len(specs) <= 2 or any(len(s.shape) != 3 or not s.dtype.startswith("float") for s in specs):
            raise UsageError(
                f"nms works on boxes and scores, float with three dimensions each; there it would get {found}",
                hint="choose them with output = ['BOXES', 'SCORES'] at the top, or the one output that has both",
            )
        across, along = (2, 1) if self.layout == ROWS else (1, 2)
        values = [known(spec.shape[across], f"axis {across} of {spec.name!r}") for spec in specs]
        classes = values[-1] - (4 if len(specs) == 1 else 0) - self.objectness
        if (len(specs) == 2 and values[0] != 4) or specs[0].shape[along] != specs[-1].shape[along] or classes < 1:
            want = "[N, boxes, 4] and [N, boxes, classes], or [N, boxes, 4 + classes]"
            if self.layout == COLUMNS:
                want = "[N, 4, boxes] and [N, classes, boxes], or [N, 4 + classes, boxes]"
            raise UsageError(
                f"nms with layout {self.layout!r} wants {want}; there it would get {found}",
                hint=f"the other layout is {COLUMNS if self.layout == ROWS else ROWS!r}",
            )
        return known(specs[0].shape[0], f"the batch of {specs[0].name!r}"), classes


def read_nms(table: Table) -> NonMaximumSuppression:
    return NonMaximumSuppression(
        table.choice("format", (CORNERS, CENTRE)),
        table.choice("layout", (ROWS, COLUMNS), ROWS),
        table.flag("objectness", default=False),
        table.choice("activation", ("none", "sigmoid", "softmax"), "none"),
        table.number("iou", 0, 1, 0.5),
        table.number("score", 0, 1, 0.25),
        table.whole("count", 1, 10_000, 100),
    )


def _column(graph: Graph, batch: int) -> str:
    return graph.constant(np.arange(batch)[:, np.newaxis], "int64")


def _activated(scores: NDArray[np.float64], activation: str) -> NDArray[np.float64]:
    if activation == "sigmoid":
        return sigmoid(scores)
    if activation == "softmax":
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
    return scores


def _overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Intersection over union of two boxes as corners."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    common = float(np.prod(np.maximum(sides, 0)))
    union = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - common
    return common / union if union > 0 else 0.0

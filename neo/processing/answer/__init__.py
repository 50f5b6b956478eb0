"""The steps after the model: answers. One function in READERS for each name that ``do`` can have."""

from __future__ import annotations

from collections.abc import Callable

from neo.processing.answer.detections import read_nms
from neo.processing.answer.scores import read_argmax, read_sigmoid, read_softmax, read_topk
from neo.processing.answer.state import AnswerStep
from neo.processing.tables import Table

READERS: dict[str, Callable[[Table], AnswerStep]] = {
    "softmax": read_softmax,
    "sigmoid": read_sigmoid,
    "argmax": read_argmax,
    "topk": read_topk,
    "nms": read_nms,
}

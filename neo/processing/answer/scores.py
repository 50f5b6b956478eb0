"""Scores to probabilities, and to the classes that have the highest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neo.contract.labels import BY_POSITION, BY_VALUE
from neo.contract.tensors import TensorSpec
from neo.errors import UsageError
from neo.processing.answer.state import Answer, Arrays, known, only
from neo.processing.tables import Table

if TYPE_CHECKING:
    from neo.processing.graph import Graph

MAX_RANK = 32


@dataclass(frozen=True, slots=True)
class Softmax:
    name: str
    axis: int

    def after(self, answers: tuple[Answer, ...]) -> tuple[Answer, ...]:
        spec = only(answers, "softmax")
        return (_over_axis(TensorSpec(self.name, spec.dtype, spec.shape), _axis(spec, self.axis, "softmax")),)

    def emit(self, graph: Graph, values: tuple[str, ...], _answers: tuple[Answer, ...]) -> tuple[str, ...]:
        return (graph.add("Softmax", values[0], axis=self.axis),)

    def reference(self, arrays: Arrays) -> Arrays:
        scores = arrays[0].astype(np.float64)
        powers = np.exp(scores - scores.max(axis=self.axis, keepdims=True))
        return (powers / powers.sum(axis=self.axis, keepdims=True),)


@dataclass(frozen=True, slots=True)
class Sigmoid:
    name: str

    def after(self, answers: tuple[Answer, ...]) -> tuple[Answer, ...]:
        spec = only(answers, "sigmoid")
        return (_over_axis(TensorSpec(self.name, spec.dtype, spec.shape), len(spec.shape) - 1),)

    def emit(self, graph: Graph, values: tuple[str, ...], _answers: tuple[Answer, ...]) -> tuple[str, ...]:
        return (graph.add("Sigmoid", values[0]),)

    def reference(self, arrays: Arrays) -> Arrays:
        return (sigmoid(arrays[0]),)


@dataclass(frozen=True, slots=True)
class ArgMax:
    """Index of the highest score along the axis, as int64, without that axis; the first of equal scores."""

    name: str
    axis: int

    def after(self, answers: tuple[Answer, ...]) -> tuple[Answer, ...]:
        spec = only(answers, "argmax")
        axis = _axis(spec, self.axis, "argmax")
        rest = tuple(dim for index, dim in enumerate(spec.shape) if index != axis)
        return (Answer(TensorSpec(self.name, "int64", rest), BY_VALUE, _size(spec, axis)),)

    def emit(self, graph: Graph, values: tuple[str, ...], _answers: tuple[Answer, ...]) -> tuple[str, ...]:
        return (graph.add("ArgMax", values[0], axis=self.axis, keepdims=0),)

    def reference(self, arrays: Arrays) -> Arrays:
        return (arrays[0].argmax(axis=self.axis),)


@dataclass(frozen=True, slots=True)
class TopK:
    """The k highest along the last axis, highest first: their scores, and their int64 indices."""

    k: int
    scores: str
    indices: str

    def after(self, answers: tuple[Answer, ...]) -> tuple[Answer, ...]:
        spec = only(answers, "topk")
        classes = known(spec.shape[-1], "the last axis, which topk searches,")
        if self.k > classes:
            raise UsageError(f"topk: k is {self.k}, and {spec} has only {classes} scores", hint=f"take k = {classes}")
        shape = (*spec.shape[:-1], self.k)
        indices = Answer(TensorSpec(self.indices, "int64", shape), BY_VALUE, classes)
        return indices, Answer(TensorSpec(self.scores, spec.dtype, shape))

    def emit(self, graph: Graph, values: tuple[str, ...], _answers: tuple[Answer, ...]) -> tuple[str, ...]:
        scores, indices = graph.add_many("TopK", (values[0], graph.whole(self.k)), 2, axis=-1)
        return indices, scores

    def reference(self, arrays: Arrays) -> Arrays:
        order = np.argsort(-arrays[0], axis=-1, kind="stable")[..., : self.k]
        return order, np.take_along_axis(arrays[0], order, axis=-1)


def sigmoid(x: NDArray[Any]) -> NDArray[np.float64]:
    """1 / (1 + exp(-x)) without overflow."""
    small = np.exp(-np.abs(x.astype(np.float64)))
    return np.where(x >= 0, 1.0, small) / (1.0 + small)


def read_softmax(table: Table) -> Softmax:
    return Softmax(table.text("name", "probability"), table.whole("axis", -MAX_RANK, MAX_RANK, -1))


def read_sigmoid(table: Table) -> Sigmoid:
    return Sigmoid(table.text("name", "probability"))


def read_argmax(table: Table) -> ArgMax:
    return ArgMax(table.text("name", "index"), table.whole("axis", -MAX_RANK, MAX_RANK, -1))


def read_topk(table: Table) -> TopK:
    return TopK(table.whole("k", 1, 100_000), table.text("scores", "score"), table.text("indices", "index"))


def _axis(spec: TensorSpec, axis: int, step: str) -> int:
    rank = len(spec.shape)
    if not -rank <= axis < rank:
        raise UsageError(f"{step}: axis {axis} is none of {spec}", hint=f"it is one of {-rank} to {rank - 1}")
    return axis % rank


def _size(spec: TensorSpec, axis: int) -> int | None:
    dim = spec.shape[axis]
    return dim if isinstance(dim, int) else None


def _over_axis(spec: TensorSpec, axis: int) -> Answer:
    """Labels count along the last axis only."""
    return Answer(spec, BY_POSITION, _size(spec, axis)) if axis == len(spec.shape) - 1 else Answer(spec)

"""scikit-learn's metrics, on what models answer: scores, probabilities, class numbers or values.

What an answer means is told from its dtype and shape:

- whole numbers of the labels' shape are classes (argmax); with one more axis, classes from best to worst (top-k);
- floats with one more axis than the labels are a score for each class; that axis is the last, or the first behind the
  samples (maps);
- words of the labels' shape are classes, where the labels are words too;
- floats of the labels' shape are values for regression; for classification they are the second class's probability,
  or its score if they leave 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo.contract.strings import STRING, dtype_name
from neo.errors import MissingDependency, UsageError

Array = NDArray[Any]

TOP = 5
_MOST_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Answered:
    """True and given answers for the same samples. Both are numbers; words were replaced by their positions."""

    #: (samples, ...)
    labels: Array
    #: of one output
    answers: Array

    @classmethod
    def of(cls, labels: Array, answers: Array, words: tuple[str, ...] = ()) -> Answered:
        """Axes of size 1 are dropped where only they tell the shapes apart: (N, 1) beside (N,). words: the classes, if
        the labels are words, see ``vocabulary``.

        Raises UsageError for words on one side only.
        """
        if words:
            labels, answers = _positions(labels, words), _positions(answers, words)
        if STRING in (dtype_name(labels), dtype_name(answers)):
            raise UsageError(
                f"the labels are {dtype_name(labels)}, and the output's answers are {dtype_name(answers)}",
                hint="choose another output with --output, or give labels of its kind",
            )
        if labels.ndim > 1 and labels.shape[-1] == 1:
            labels = labels[..., 0]
        if answers.ndim == labels.ndim + 1 and answers.shape[-1] == 1:
            answers = answers[..., 0]
        return cls(labels, answers)

    @property
    def ranked(self) -> bool:
        return self.answers.dtype.kind in "biu" and self.answers.ndim == self.labels.ndim + 1

    def true_classes(self) -> Array:
        if self.labels.dtype.kind == "f" and not np.array_equal(self.labels, np.rint(self.labels)):
            raise UsageError(
                "the labels are no whole numbers, so they name no classes", hint="for values: --metric rmse, mae or r2"
            )
        return np.asarray(self.labels.astype(np.int64))

    def scores(self) -> Array:
        """Float (..., classes)."""
        if self.answers.dtype.kind == "f" and self.answers.ndim == self.labels.ndim + 1:
            if self.answers.shape[:-1] == self.labels.shape:
                return self.answers
            moved = np.moveaxis(self.answers, 1, -1)
            if moved.shape[:-1] == self.labels.shape:
                return moved
        raise self._no_fit("a score for each class")

    def classes(self) -> Array:
        """The predicted class of each label."""
        same = self.answers.shape == self.labels.shape
        if self.answers.dtype.kind in "biu" and (same or self.ranked):
            best = self.answers if same else self.answers[..., 0]
            return np.asarray(best.astype(np.int64))
        if same:
            probable = bool((self.answers >= 0).all() and (self.answers <= 1).all())
            return np.asarray((self.answers > (0.5 if probable else 0.0)).astype(np.int64))
        return np.asarray(self.scores().argmax(axis=-1))

    def values(self) -> tuple[Array, Array]:
        """True and predicted, float64 (samples, values)."""
        if self.answers.shape != self.labels.shape:
            raise self._no_fit("one value for each label")
        rows = len(self.labels)
        return (
            self.labels.astype(np.float64).reshape(rows, -1),
            self.answers.astype(np.float64).reshape(rows, -1),
        )

    def _no_fit(self, wanted: str) -> UsageError:
        return UsageError(
            f"the metric wants {wanted}; the output is {self.answers.dtype}{list(self.answers.shape)}, the labels are"
            f" {self.labels.dtype}{list(self.labels.shape)}",
            hint="choose another output with --output, or another metric with --metric",
        )


def vocabulary(labels: Array, answers: Iterable[Array], texts: tuple[str, ...]) -> tuple[str, ...]:
    """What numbers words get, in labels and answers alike: their positions here. () if the labels are no words.

    texts: of the output's classes, in its order, if it has such; an output of words needs none. Raises UsageError for
    a label that is none of texts.
    """
    if dtype_name(labels) != STRING:
        return ()
    said = [array for array in answers if dtype_name(array) == STRING]
    if said or not texts:
        return tuple(sorted({word for array in (labels, *said) for word in array.ravel().tolist()}))
    unknown = sorted(set(labels.ravel().tolist()) - set(texts))
    if unknown:
        raise UsageError(
            f"the label {unknown[0]!r} is no class of the model",
            hint=f"its classes are: {', '.join(texts[:_MOST_SHOWN])}",
        )
    return texts


def _positions(array: Array, words: tuple[str, ...]) -> Array:
    if dtype_name(array) != STRING:
        return array
    position = {word: number for number, word in enumerate(words)}
    return np.array([position[word] for word in array.ravel().tolist()], np.int64).reshape(array.shape)


def _sklearn() -> Any:
    try:
        import sklearn.metrics
    except ImportError as error:
        raise MissingDependency(
            "the metrics are scikit-learn's, which is not installed", hint="pip install 'neo-edge[evaluate]'"
        ) from error
    return sklearn.metrics


def _accuracy(answered: Answered) -> float:
    return float(_sklearn().accuracy_score(answered.true_classes().ravel(), answered.classes().ravel()))


def _f1(answered: Answered) -> float:
    true, found = answered.true_classes().ravel(), answered.classes().ravel()
    return float(_sklearn().f1_score(true, found, average="macro", zero_division=0))


def _top5(answered: Answered) -> float:
    if answered.ranked:
        best = answered.answers
        if best.shape[-1] < TOP:
            raise UsageError(
                f"top5 of an output with the {best.shape[-1]} best classes", hint="compile with topk k = 5"
            )
        best = best[..., :TOP]
    else:
        best = np.argsort(-answered.scores(), axis=-1, kind="stable")[..., :TOP]
    return float((best == answered.true_classes()[..., np.newaxis]).any(axis=-1).mean())


def _auc(answered: Answered) -> float:
    true = answered.true_classes().ravel()
    if answered.answers.shape == answered.labels.shape and answered.answers.dtype.kind == "f":
        return _roc_auc(true, answered.answers.ravel())
    scores = answered.scores()
    scores = scores.reshape(-1, scores.shape[-1]).astype(np.float64)
    if scores.shape[1] == 2:
        return _roc_auc(true, scores[:, 1] - scores[:, 0])
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    already = bool((scores >= 0).all()) and np.allclose(scores.sum(axis=1), 1, atol=1e-3)
    probabilities = scores if already else powers
    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    return _roc_auc(true, probabilities, multi_class="ovr", labels=np.arange(scores.shape[1]))


def _roc_auc(true: Array, scores: Array, **options: Any) -> float:
    if len(np.unique(true)) < (scores.shape[1] if scores.ndim == 2 else 2):
        raise UsageError("auc needs samples of every class; some have none here", hint="use more data")
    return float(_sklearn().roc_auc_score(true, scores, **options))


def _rmse(answered: Answered) -> float:
    return float(_sklearn().root_mean_squared_error(*answered.values()))


def _mae(answered: Answered) -> float:
    return float(_sklearn().mean_absolute_error(*answered.values()))


def _r2(answered: Answered) -> float:
    if len(answered.labels) < 2:
        raise UsageError("r2 needs two samples at least", hint="use more data, or --metric rmse")
    return float(_sklearn().r2_score(*answered.values()))


METRICS: dict[str, Callable[[Answered], float]] = {
    "accuracy": _accuracy,
    "top5": _top5,
    "f1": _f1,
    "auc": _auc,
    "rmse": _rmse,
    "mae": _mae,
    "r2": _r2,
}
CONFUSION = "confusion"


def confusion(answered: Answered, classes: int) -> NDArray[np.int64]:
    """Int64 (classes, classes): row is the true class, column the predicted one."""
    true, found = answered.true_classes().ravel(), answered.classes().ravel()
    return np.asarray(_sklearn().confusion_matrix(true, found, labels=np.arange(classes)), np.int64)


def usual_metric(labels: Array) -> str:
    """For labels that nobody said anything about: whole numbers and words are classes."""
    return "accuracy" if labels.dtype.kind in "biu" or dtype_name(labels) == STRING else "rmse"

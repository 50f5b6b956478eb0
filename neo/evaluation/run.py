"""evaluate(): a bundle on data, and the source model beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo.contract.manifest import Manifest
from neo.errors import InputSpecError, UsageError
from neo.evaluation.answers import Answers, DataRequest, Progress, bundle_answers, source_answers
from neo.evaluation.metrics import CONFUSION, METRICS, Answered, confusion, usual_metric, vocabulary
from neo.evaluation.picture import check_picture, draw_confusion
from neo.frontends.base import ConversionRequest
from neo.isolation.scratch import scratch_folder

MOST_CLASSES = 4096


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """folder: the unpacked bundle. metrics: of METRICS, or "confusion"; () for the usual one of such labels.

    output: the one that is judged, None for the first. source: given a scratch folder, how to open the source model;
    None to leave it out. picture: a file for the confusion matrices.
    """

    folder: Path
    manifest: Manifest
    data: DataRequest
    metrics: tuple[str, ...] = ()
    output: str | None = None
    threads: int | None = None
    source: Callable[[Path], ConversionRequest] | None = None
    picture: Path | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """One model's results. latency: of one sample, in milliseconds: its share of a run of batch samples."""

    by: str
    metrics: dict[str, float]
    confusion: NDArray[np.int64] | None
    median_ms: float
    p90_ms: float
    batch: int

    def to_json(self) -> dict[str, Any]:
        return {
            "by": self.by,
            "metrics": self.metrics,
            "confusion": None if self.confusion is None else self.confusion.tolist(),
            "latency_ms": {"median": self.median_ms, "p90": self.p90_ms},
            "batch": self.batch,
        }


@dataclass(frozen=True, slots=True)
class Evaluation:
    """agreement: share of the samples on which both models predict the same class; None without a source model, or
    where no classes are predicted. classes: their names, where there is a confusion matrix.
    """

    reference: str
    samples: int
    output: str
    bundle: Judged
    source: Judged | None
    agreement: float | None
    classes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "reference": self.reference,
            "samples": self.samples,
            "output": self.output,
            "bundle": self.bundle.to_json(),
            "source": None if self.source is None else self.source.to_json(),
            "agreement": self.agreement,
            "classes": list(self.classes),
        }


def evaluate(request: EvaluationRequest, progress: Progress = lambda _: None) -> Evaluation:
    """Raises NeoError: UsageError for a metric that does not fit, InputSpecError for data that does not."""
    unknown = [name for name in request.metrics if name not in (*METRICS, CONFUSION)]
    if unknown:
        raise UsageError(f"no metric {unknown[0]!r}", hint=f"there are: {', '.join((*METRICS, CONFUSION))}")
    if request.picture is not None:
        check_picture(request.picture)
    output = _output(request)
    answers = {"bundle": _of_bundle(request, progress)}
    if request.source is not None:
        answers["source"] = _of_source(request, request.source, output, progress)
    texts: tuple[str, ...] = next((e.texts for e in request.manifest.labels if e.output == output), ())
    words = vocabulary(answers["bundle"].labels, [given.outputs[output] for given in answers.values()], texts)
    answered = {who: Answered.of(given.labels, given.outputs[output], words) for who, given in answers.items()}
    metrics = tuple(dict.fromkeys(request.metrics)) or (usual_metric(answers["bundle"].labels),)
    names: tuple[str, ...] = ()
    if CONFUSION in metrics or request.picture is not None:
        names = _class_names(words or texts, list(answered.values()))
    judged = {who: _judge(answers[who], answered[who], metrics, len(names)) for who in answers}
    if request.picture is not None:
        titles = {"bundle": request.manifest.reference, "source": judged.get("source", judged["bundle"]).by}
        matrices = {titles[who]: row.confusion for who, row in judged.items() if row.confusion is not None}
        draw_confusion(request.picture, matrices, names)
    return Evaluation(
        request.manifest.reference,
        len(answers["bundle"].labels),
        output,
        judged["bundle"],
        judged.get("source"),
        _agreement(answered),
        names,
    )


def _output(request: EvaluationRequest) -> str:
    names = [spec.name for spec in request.manifest.outputs]
    if request.output is not None and request.output not in names:
        raise UsageError(f"the bundle has no output {request.output!r}", hint=f"it has: {', '.join(names)}")
    return request.output or names[0]


def _of_bundle(request: EvaluationRequest, progress: Progress) -> Answers:
    with scratch_folder("neo-evaluate-") as scratch:
        return bundle_answers(request.folder, request.data, request.threads, scratch, progress)


def _of_source(
    request: EvaluationRequest, source: Callable[[Path], ConversionRequest], output: str, progress: Progress
) -> Answers:
    with scratch_folder("neo-evaluate-") as scratch:
        answers = source_answers(source(scratch), request.data, progress)
    if output not in answers.outputs:
        raise InputSpecError(
            f"the source model has no output {output!r}; it has {', '.join(answers.outputs)}",
            hint="give evaluate the --preprocess and --postprocess that the bundle was compiled with",
        )
    return answers


def _judge(answers: Answers, answered: Answered, metrics: tuple[str, ...], classes: int) -> Judged:
    median, p90 = (float(value) for value in np.percentile(answers.ms, [50, 90]))
    numbers = {name: METRICS[name](answered) for name in metrics if name != CONFUSION}
    matrix = confusion(answered, classes) if classes else None
    return Judged(answers.by, numbers, matrix, median, p90, answers.batch)


def _class_names(texts: tuple[str, ...], answered: list[Answered]) -> tuple[str, ...]:
    """The texts, or numbers up to the highest class that is meant or predicted."""
    highest = max(int(max(one.true_classes().max(), one.classes().max())) for one in answered)
    lowest = min(int(min(one.true_classes().min(), one.classes().min())) for one in answered)
    if lowest < 0 or highest >= MOST_CLASSES:
        raise UsageError(
            f"classes from {lowest} to {highest}; a confusion matrix is made of 0 to {MOST_CLASSES - 1}",
            hint="choose another metric with --metric",
        )
    return tuple(texts[i] if i < len(texts) else str(i) for i in range(max(highest + 1, len(texts))))


def _agreement(answered: dict[str, Answered]) -> float | None:
    if "source" not in answered:
        return None
    one, other = answered["bundle"], answered["source"]
    if one.answers.shape == one.labels.shape and one.answers.dtype.kind == "f" and one.labels.dtype.kind == "f":
        return None
    return float((one.classes() == other.classes()).mean())

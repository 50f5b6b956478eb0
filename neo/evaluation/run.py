"""An engine folder on data with known answers; a bundle, and the source model beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from neo.contract.labels import OutputLabels
from neo.contract.manifest import ENGINE_DIR, Manifest
from neo.contract.tensors import TensorSpec
from neo.errors import InputSpecError, UsageError
from neo.evaluation.answers import Answers, DataRequest, OnStatus, engine_answers, source_answers
from neo.evaluation.metrics import CONFUSION, METRICS, Answered, confusion, usual_metric, vocabulary
from neo.evaluation.picture import check_picture, draw_confusion
from neo.frontends.base import ConversionRequest
from neo.isolation.scratch import scratch_folder
from neo.runtime.load import check_processor

MOST_CLASSES = 4096


class Interface(Protocol):
    """What has to be known of a model to judge it: a manifest, and a conversion before there is a bundle, know it."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def labels(self) -> tuple[OutputLabels, ...]: ...


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """A bundle to be judged, and perhaps the model it was made from."""

    #: The unpacked bundle.
    folder: Path
    manifest: Manifest
    data: DataRequest
    #: Of METRICS, or "confusion"; () for the usual one of such labels.
    metrics: tuple[str, ...] = ()
    #: The one that is judged, None for the first.
    output: str | None = None
    threads: int | None = None
    #: Given a scratch folder, how to open the source model; None to leave it out.
    source: Callable[[Path], ConversionRequest] | None = None
    #: A file for the confusion matrices.
    picture: Path | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """One model's results. Latencies are of one sample, in milliseconds: its share of a run of batch samples."""

    #: Who answered.
    by: str
    metrics: dict[str, float]
    #: Counts, the true classes down; None if it was not asked for.
    confusion: NDArray[np.int64] | None
    median_ms: float
    p90_ms: float
    #: Samples of one run.
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
    """A bundle's results, and its source model's beside it."""

    reference: str
    #: How many there were.
    samples: int
    #: The one that was judged.
    output: str
    bundle: Judged
    source: Judged | None
    #: Share of the samples on which both models predict the same class; None without a source model, or where no
    #: classes are predicted.
    agreement: float | None
    #: Their names, where there is a confusion matrix.
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


def evaluate_folder(
    folder: Path,
    interface: Interface,
    data: DataRequest,
    metrics: tuple[str, ...] = (),
    *,
    output: str | None = None,
    threads: int | None = None,
    on_status: OnStatus = lambda _: None,
) -> Judged:
    """An engine folder on data with known answers; no bundle is needed. interface: of the model. metrics, output: as in
    EvaluationRequest.

    Raises NeoError: UsageError for a metric that does not fit, InputSpecError for data that does not, EngineError.
    """
    _check_metrics(metrics)
    name = _output(interface, output)
    answers = _of_engine(folder, data, threads, on_status)
    return _judge_all({"": answers}, interface, name, metrics, matrix=CONFUSION in metrics).models[""]


def evaluate(request: EvaluationRequest, on_status: OnStatus = lambda _: None) -> Evaluation:
    """Raises NeoError: UsageError for a metric that does not fit, InputSpecError for data that does not."""
    _check_metrics(request.metrics)
    if request.picture is not None:
        check_picture(request.picture)
    check_processor(request.manifest)
    output = _output(request.manifest, request.output)
    answers = {"bundle": _of_engine(request.folder / ENGINE_DIR, request.data, request.threads, on_status)}
    if request.source is not None:
        answers["source"] = _of_source(request, request.source, output, on_status)
    matrix = CONFUSION in request.metrics or request.picture is not None
    judged = _judge_all(answers, request.manifest, output, request.metrics, matrix=matrix)
    if request.picture is not None:
        last = judged.models.get("source", judged.models["bundle"])
        titles = {"bundle": request.manifest.reference, "source": last.by}
        matrices = {titles[who]: row.confusion for who, row in judged.models.items() if row.confusion is not None}
        draw_confusion(request.picture, matrices, judged.classes)
    return Evaluation(
        request.manifest.reference,
        len(answers["bundle"].labels),
        output,
        judged.models["bundle"],
        judged.models.get("source"),
        _agreement(judged.answered),
        judged.classes,
    )


@dataclass(frozen=True, slots=True)
class _JudgedModels:
    """Several models on one dataset; each mapping is by the model's name."""

    models: dict[str, Judged]
    answered: dict[str, Answered]
    #: Their names, where there is a confusion matrix.
    classes: tuple[str, ...]


def _judge_all(
    answers: Mapping[str, Answers], interface: Interface, output: str, metrics: tuple[str, ...], *, matrix: bool
) -> _JudgedModels:
    """matrix: whether there is to be one of confusion, of the classes that any of the models knows."""
    labels = next(iter(answers.values())).labels
    texts: tuple[str, ...] = next((e.texts for e in interface.labels if e.output == output), ())
    words = vocabulary(labels, [given.outputs[output] for given in answers.values()], texts)
    answered = {who: Answered.of(given.labels, given.outputs[output], words) for who, given in answers.items()}
    names = tuple(dict.fromkeys(metrics)) or (usual_metric(labels),)
    classes = _class_names(words or texts, list(answered.values())) if matrix else ()
    models = {who: _judge(answers[who], answered[who], names, len(classes)) for who in answers}
    return _JudgedModels(models, answered, classes)


def _check_metrics(metrics: tuple[str, ...]) -> None:
    unknown = [name for name in metrics if name not in (*METRICS, CONFUSION)]
    if unknown:
        raise UsageError(f"no metric {unknown[0]!r}", hint=f"there are: {', '.join((*METRICS, CONFUSION))}")


def _output(interface: Interface, wanted: str | None) -> str:
    names = [spec.name for spec in interface.outputs]
    if wanted is not None and wanted not in names:
        raise UsageError(f"the model has no output {wanted!r}", hint=f"it has: {', '.join(names)}")
    return wanted or names[0]


def _of_engine(folder: Path, data: DataRequest, threads: int | None, on_status: OnStatus) -> Answers:
    with scratch_folder("neo-evaluate-") as scratch:
        return engine_answers(folder, data, threads, scratch, on_status)


def _of_source(
    request: EvaluationRequest, source: Callable[[Path], ConversionRequest], output: str, on_status: OnStatus
) -> Answers:
    with scratch_folder("neo-evaluate-") as scratch:
        answers = source_answers(source(scratch), request.data, on_status)
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

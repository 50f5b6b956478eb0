"""A model's answers to a dataset, in a confined process: the data and the model come from outside.

In the scratch folder: evaluate.json says what to do, answers.npz gets what came of it, progress.txt tells how far.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo.contract.strings import from_plain, to_plain
from neo.contract.tensors import TensorSpec
from neo.errors import EngineError, InputSpecError, MissingDependency, ModelError
from neo.evaluation.dataset import Arrays, Dataset, read_dataset
from neo.frontends.base import ConversionRequest, SourceModel
from neo.isolation import Limits, isolated
from neo.isolation.call import Work

REQUEST_FILE = "evaluate.json"
ANSWERS_FILE = "answers.npz"
PROGRESS_FILE = "progress.txt"
# a large set on a slow model may take its time: conversion's half hour is for files that hang
TIME_LIMIT_S = 24 * 3600.0
_LOOK_EVERY_S = 0.2

OnStatus = Callable[[str], None]
"""Called with a few words on how far the work is."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What one model answered to a dataset."""

    #: By name, for all samples.
    outputs: Arrays
    #: The true answers.
    labels: NDArray[Any]
    #: Milliseconds per sample, of every run.
    ms: NDArray[np.float64]
    #: Samples of one run.
    batch: int
    #: Who answered.
    by: str


@dataclass(frozen=True, slots=True)
class DataRequest:
    """The data to evaluate on."""

    #: The .npz.
    data: Path
    #: The name of the array with the true answers, None for the usual ones.
    labels: str | None = None


def engine_answers(
    folder: Path, request: DataRequest, threads: int | None, scratch: Path, on_status: OnStatus
) -> Answers:
    """Of an engine folder, by the code that runs on devices. scratch: an empty folder.

    Raises InputSpecError for data that does not fit, EngineError if the engine fails.
    """
    content = {"folder": str(folder.resolve()), "threads": threads}
    work = Work("neo.evaluation.answers:of_engine", "running the model", EngineError)
    return _answered(work, content, request, scratch, on_status)


def source_answers(conversion: ConversionRequest, request: DataRequest, on_status: OnStatus) -> Answers:
    """Of the source model, in its framework. Raises as a conversion does; without the framework MissingDependency."""
    from neo.frontends.exchange import write_request

    write_request(conversion)
    work = Work("neo.evaluation.answers:of_source", f"running {conversion.source.name}", ModelError)
    return _answered(work, {}, request, conversion.scratch, on_status)


def of_engine(scratch: Path) -> dict[str, Any]:
    """In the confined process."""
    from neo.runtime.engine_folder import EngineFolder
    from neo.runtime.load import load_engine, run_by_name

    obj = json.loads((scratch / REQUEST_FILE).read_bytes())
    folder = Path(obj["folder"])
    engine = load_engine(folder, obj["threads"])
    dataset = read_dataset(Path(obj["data"]), engine.inputs, obj["labels"])
    name = EngineFolder.read(folder).engine
    return _run(dataset, functools.partial(run_by_name, engine), engine.outputs, scratch, name)


def of_source(scratch: Path) -> dict[str, Any]:
    """In the confined process."""
    from neo.frontends.conversion import open_source
    from neo.frontends.exchange import read_request
    from neo.frontends.failures import translated

    obj = json.loads((scratch / REQUEST_FILE).read_bytes())
    request = read_request(scratch)
    try:
        source = open_source(request)
        dataset = read_dataset(Path(obj["data"]), source.inputs, obj["labels"])
        return _run(dataset, _in_framework(source), source.outputs, scratch, source.framework)
    except Exception as error:  # whatever a framework raises has to reach the parent as one of ours
        raise translated(error, request) from error


def _in_framework(source: SourceModel) -> Callable[[Arrays], Arrays]:
    if source.run is None or not source.proves_conversion:
        raise MissingDependency(
            f"{source.framework} is not installed, so the source model cannot answer",
            hint="install the framework, or leave --source out",
        )
    return source.run


def _answered(work: Work, content: dict[str, Any], request: DataRequest, scratch: Path, on_status: OnStatus) -> Answers:
    content |= {"data": str(request.data.absolute()), "labels": request.labels}
    (scratch / REQUEST_FILE).write_text(json.dumps(content), encoding="utf-8")
    usual = Limits.of_this_machine()
    limits = Limits(usual.memory_bytes, TIME_LIMIT_S, usual.file_bytes)
    with ThreadPoolExecutor(1) as pool:
        answer = _watched(pool.submit(isolated, work, scratch, limits), work, scratch / PROGRESS_FILE, on_status)
    with np.load(scratch / ANSWERS_FILE, allow_pickle=False) as file:
        arrays = from_plain(file)
    outputs = {name: arrays[f"out-{index}"] for index, name in enumerate(answer["outputs"])}
    return Answers(outputs, arrays["labels"], arrays["ms"], int(answer["batch"]), str(answer["by"]))


def _watched(running: Future[dict[str, Any]], work: Work, file: Path, on_status: OnStatus) -> dict[str, Any]:
    while True:
        with suppress(NotYet):
            return running.result(_LOOK_EVERY_S)
        with suppress(OSError):  # not there before the first run
            on_status(f"{work.doing}: {file.read_text(encoding='ascii')} samples")


def _run(
    dataset: Dataset, predict: Callable[[Arrays], Arrays], specs: tuple[TensorSpec, ...], scratch: Path, by: str
) -> dict[str, Any]:
    collected: dict[str, list[NDArray[Any]]] = {spec.name: [] for spec in specs}
    times = []
    done, told = 0, 0.0
    for inputs, real in dataset.batches():
        start = time.perf_counter()
        outputs = predict(inputs)
        end = time.perf_counter()
        times.append((end - start) * 1e3 / dataset.batch)
        for spec in specs:
            collected[spec.name].append(_rows(spec, np.asarray(outputs[spec.name]), dataset.batch)[:real].copy())
        done += real
        if end - told > _LOOK_EVERY_S:
            (scratch / PROGRESS_FILE).write_text(f"{done} of {dataset.count}", encoding="ascii")
            told = end
    arrays = {f"out-{index}": np.concatenate(collected[spec.name]) for index, spec in enumerate(specs)}
    plain = to_plain({"labels": dataset.labels, "ms": np.array(times), **arrays})
    np.savez(scratch / ANSWERS_FILE, **plain)  # type: ignore[arg-type]  # the stub takes no dict of arrays
    return {"outputs": [spec.name for spec in specs], "batch": dataset.batch, "by": by}


def _rows(spec: TensorSpec, array: NDArray[Any], batch: int) -> NDArray[Any]:
    """One row for each sample; a model of one sample at a time may leave the batch out."""
    if array.ndim and len(array) == batch:
        return array
    if batch == 1:
        return array[np.newaxis]
    raise InputSpecError(
        f"output {spec.name!r} is {list(array.shape)} for {batch} samples: it does not tell them apart",
        hint="compile the model for one sample at a time: --dim N=1",
    )

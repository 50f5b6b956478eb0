"""The work of the sandboxed process: frontend, checks, samples, parity. Returns a Conversion or raises a NeoError."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial, reduce
from typing import TYPE_CHECKING, cast

import numpy as np

from neo.contract.parity import Parity, Tolerance
from neo.contract.strings import STRING
from neo.contract.tensors import TensorSpec
from neo.errors import ModelError, UsageError
from neo.frontends import FRONTENDS
from neo.frontends.base import Arrays, Conversion, ConversionRequest, Sample, SourceModel, SpecialSample
from neo.frontends.failures import translated
from neo.frontends.samples import MAX_INTEGER, random_inputs, read_golden
from neo.frontends.special import decides_between_engines, has_one_answer, special_inputs
from neo.onnx_tools.files import load

if TYPE_CHECKING:
    import onnx

MAX_SPECIAL = 8
"""Of each kind, for engines: a single row of a table shows little, and a process reads them each time it measures."""


def convert(request: ConversionRequest) -> Conversion:
    """Raises only NeoErrors, each with details["traceback"]."""
    try:
        return _convert(request)
    except Exception as error:  # whatever a framework raises has to reach the parent as one of ours
        raise translated(error, request) from error


def open_source(request: ConversionRequest) -> SourceModel:
    """The source model with its pre- and post-processing, ready to run; nothing is compared. Raises anything."""
    source = _read(request)
    if request.processing is None:
        return source
    from neo.frontends.processed import with_processing

    return with_processing(source, request.processing)


def _convert(request: ConversionRequest) -> Conversion:
    source = _read(request)
    if request.processing is None:
        return _proved(request, source)
    from neo.frontends.processed import with_processing

    # first without processing: an argmax, say, would hide differences
    inner = _proved(replace(request, golden=None), source)
    whole = _proved(request, with_processing(source, request.processing))
    if inner.parity is None or whole.parity is None:
        return replace(whole, parity=inner.parity or whole.parity)
    return replace(whole, parity=whole.parity.worst(inner.parity))


def _proved(request: ConversionRequest, source: SourceModel) -> Conversion:
    # imported late, so that a missing framework is reported by its frontend first
    from neo.frontends.agreement import check_parity
    from neo.frontends.onnx_file import check, open_in_onnxruntime

    check(source.onnx)
    model = load(source.onnx, weights=False)
    _check_interface(source, model)
    if source.is_original and source.run is not None:
        run_onnx, runtime = source.run, source.reference
    else:
        run_onnx, runtime = open_in_onnxruntime(source.onnx)
    samples, reference = _samples(request, source, run_onnx, runtime)
    parity = None
    if source.is_original and not request.golden:
        parity = Parity(0.0, 0.0)  # by identity: it would be compared with itself
    elif request.golden or source.run:
        parity = check_parity(source, samples, run_onnx, reference)
        parity = parity if request.golden or source.proves_conversion else None
    special, strays = _special(request, source, model, samples[0].inputs, run_onnx) if samples else ((), ())
    return Conversion(
        onnx=source.onnx,
        framework=source.framework,
        inputs=source.inputs,
        outputs=source.outputs,
        samples=samples,
        reference=reference,
        parity=parity,
        labels=source.labels,
        tolerance=reduce(Tolerance.widest, source.tolerance.values()) if source.tolerance else None,
        why=source.why,
        notes=(*source.notes, *strays),
        special=special,
    )


def _special(
    request: ConversionRequest,
    source: SourceModel,
    model: onnx.ModelProto,
    base: Arrays,
    run_onnx: Callable[[Arrays], Arrays],
) -> tuple[tuple[SpecialSample, ...], tuple[str, ...]]:
    """Special samples that can tell engines apart, and a note about those that cannot."""
    from neo.frontends.agreement import check_special

    inputs = (
        special_inputs(model, base, source.inputs, source.outputs, request.seed)
        if source.special is None
        else source.special(request.seed)
    )
    clear = [(kind, arrays) for kind, arrays in inputs if has_one_answer(kind, model)]
    answering = source if source.run else replace(source, run=run_onnx)
    agreed, notes = check_special(
        answering, clear, None if source.is_original else run_onnx, source.reference or source.framework
    )
    by_kind: dict[str, list[SpecialSample]] = {}
    for sample in agreed:
        if decides_between_engines(sample.kind, model):
            by_kind.setdefault(sample.kind, []).append(sample)
    return tuple(sample for group in by_kind.values() for sample in group[:MAX_SPECIAL]), notes


def _read(request: ConversionRequest) -> SourceModel:
    _refuse_flags(request)
    return _frontend(request.framework)(request)


def _refuse_flags(request: ConversionRequest) -> None:
    flag = "--signature" if request.signature else "--outputs" if request.outputs else ""
    if flag and request.framework != "tensorflow":
        raise UsageError(f"{flag} is for TensorFlow models; this is a {request.framework} model", hint="leave it out")


def _frontend(framework: str) -> Callable[[ConversionRequest], SourceModel]:
    row = FRONTENDS.get(framework)
    if row is None:
        raise UsageError(f"no framework {framework!r}", hint=f"known: {', '.join(sorted(FRONTENDS))}")
    module, _, function = row.convert.partition(":")
    return cast("Callable[[ConversionRequest], SourceModel]", getattr(importlib.import_module(module), function))


def _check_interface(source: SourceModel, model: onnx.ModelProto) -> None:
    """A frontend that renames or loses an input is wrong, and must not get as far as a bundle."""
    from neo.frontends.onnx_file import interface_of

    inputs, outputs = interface_of(model)
    for kind, written, declared in (("inputs", inputs, source.inputs), ("outputs", outputs, source.outputs)):
        if [(spec.name, spec.dtype) for spec in written] != [(spec.name, spec.dtype) for spec in declared]:
            raise ModelError(
                f"the converted model has the {kind} {_listed(written)}; the source model has {_listed(declared)}"
            )


def _listed(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(map(str, specs)) or "none"


def _samples(
    request: ConversionRequest, source: SourceModel, run_onnx: Callable[[Arrays], Arrays], runtime: str
) -> tuple[tuple[Sample, ...], str]:
    if request.golden:
        sample = read_golden(request.golden, source.inputs, source.outputs)
        return (sample,), f"golden file {request.golden.name}"
    if source.run:
        return _answered(request, source, source.run), source.reference or source.framework
    return _answered(request, source, run_onnx), f"{runtime} on the converted model"


def _answered(request: ConversionRequest, source: SourceModel, run: Callable[[Arrays], Arrays]) -> tuple[Sample, ...]:
    choosy = any(
        spec.dtype == STRING or ("int" in spec.dtype and spec.dtype not in {"int8", "uint8"}) for spec in source.inputs
    )
    try:
        return _run_all(request, source, run, MAX_INTEGER)
    except Exception:  # the source's run is any framework's, and each has errors of its own for an index out of range
        if not choosy:
            raise
        # smaller integers, for tables with two entries, as token types have; they also make strings of digits
        return _run_all(request, source, run, 1)


def _run_all(
    request: ConversionRequest, source: SourceModel, run: Callable[[Arrays], Arrays], max_integer: int
) -> tuple[Sample, ...]:
    draw = source.draw or partial(random_inputs, source.inputs)
    inputs = draw(request.samples, request.seed, max_integer)
    # copied, because a framework may return the same buffer every time
    return tuple(Sample(arrays, {name: np.array(a) for name, a in run(arrays).items()}) for arrays in inputs)

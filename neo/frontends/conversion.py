"""The work of the sandboxed process: frontend, check, samples, parity. Answers with a Conversion or a NeoError."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial, reduce
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from neo.contract.parity import Parity, Tolerance, compare
from neo.contract.strings import STRING, dtype_name
from neo.contract.tensors import TensorSpec
from neo.errors import ModelError, ParityError, UsageError
from neo.frontends import FRONTENDS
from neo.frontends.base import Arrays, Conversion, ConversionRequest, Sample, SourceModel
from neo.frontends.failures import translated
from neo.frontends.samples import MAX_INTEGER, random_inputs, read_golden

# float16 itself resolves 1e-3 of a number; below these no converted model can be told from a wrong one
TOLERANCE = Tolerance(max_abs=1e-5, max_rel=1e-3)
HALF_TOLERANCE = Tolerance(max_abs=1e-3, max_rel=1e-2)


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

    # on its own first: behind an argmax nobody sees how far a model is off
    inner = _proved(replace(request, golden=None), source)
    whole = _proved(request, with_processing(source, request.processing))
    if inner.parity is None or whole.parity is None:
        return replace(whole, parity=inner.parity or whole.parity)
    return replace(whole, parity=whole.parity.worst(inner.parity))


def _proved(request: ConversionRequest, source: SourceModel) -> Conversion:
    # here, not above: a frontend without its framework should be the first to say so
    from neo.frontends.onnx_file import check, open_in_onnxruntime

    check(source.onnx)
    _check_interface(source)
    run_onnx, runtime = open_in_onnxruntime(source.onnx)
    samples, reference = _samples(request, source, run_onnx, runtime)
    parity = None
    if request.golden or source.run:
        parity = _check_parity(source, samples, run_onnx, reference)
        parity = parity if request.golden or source.proves_conversion else None
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
        notes=source.notes,
    )


def _read(request: ConversionRequest) -> SourceModel:
    _refuse_flags(request)
    return _frontend(request.framework)(request)


def _refuse_flags(request: ConversionRequest) -> None:
    flag = "--signature" if request.signature else "--outputs" if request.outputs else ""
    if flag and request.framework != "tensorflow":
        raise UsageError(f"{flag} is for TensorFlow models; this is a {request.framework} model", hint="leave it out")


def _frontend(framework: str) -> Callable[[ConversionRequest], SourceModel]:
    entry = FRONTENDS.get(framework)
    if entry is None:
        raise UsageError(f"no framework {framework!r}", hint=f"known: {', '.join(sorted(FRONTENDS))}")
    module, _, function = entry.partition(":")
    return cast("Callable[[ConversionRequest], SourceModel]", getattr(importlib.import_module(module), function))


def _check_interface(source: SourceModel) -> None:
    """A frontend that renames or loses an input is wrong, and must not get as far as a bundle."""
    from neo.frontends.onnx_file import interface

    inputs, outputs = interface(source.onnx)
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
        # an integer can index a table of two entries, as token types do; a string can be the text of a number
        return _run_all(request, source, run, 1)


def _run_all(
    request: ConversionRequest, source: SourceModel, run: Callable[[Arrays], Arrays], max_integer: int
) -> tuple[Sample, ...]:
    draw = source.draw or partial(random_inputs, source.inputs)
    inputs = draw(request.samples, request.seed, max_integer)
    # a framework may hand out one buffer for all answers
    return tuple(Sample(arrays, {name: np.array(a) for name, a in run(arrays).items()}) for arrays in inputs)


def _check_parity(
    source: SourceModel, samples: tuple[Sample, ...], run_onnx: Callable[[Arrays], Arrays], reference: str
) -> Parity:
    worst = Parity(0.0, 0.0)
    for number, sample in enumerate(samples):
        actual = run_onnx(sample.inputs)
        for spec in source.outputs:
            parity = compare({spec.name: sample.outputs[spec.name]}, actual)
            usual = HALF_TOLERANCE if spec.dtype == "float16" else TOLERANCE
            tolerance = source.tolerance.get(spec.name, usual)
            if not tolerance.accepts(parity):
                where = f"{reference}, sample {number}"
                found = _difference(sample.outputs[spec.name], actual[spec.name], parity)
                raise _parity_error(spec.name, found, where, parity, tolerance)
            worst = worst.worst(parity)
    return worst


def _difference(want: NDArray[Any], got: NDArray[Any], parity: Parity) -> str:
    if want.shape != got.shape:
        return f"has the shape {list(got.shape)} instead of {list(want.shape)}"
    if dtype_name(want) == STRING:
        pairs = zip(want.ravel().tolist(), got.ravel().tolist(), strict=True)
        one, other = next((one, other) for one, other in pairs if one != other)
        return f"has {other!r:.80} instead of {one!r:.80}"
    if not np.isfinite(parity.max_abs):
        return "is not finite where the source model's is, or the other way round"
    return f"differs by {parity.max_abs:.3g}, {parity.max_rel:.3g} of its largest value"


def _parity_error(output: str, found: str, where: str, parity: Parity, tolerance: Tolerance) -> ParityError:
    return ParityError(
        f"output {output!r} of the converted model {found} ({where}); allowed are {tolerance.max_rel:g} of the largest"
        f" value, or {tolerance.max_abs:g}",
        hint="if the model draws random numbers or is in training mode, export it for inference; otherwise report it",
        details={"output": output, "parity": parity.to_json(), "tolerance": tolerance.to_json()},
    )

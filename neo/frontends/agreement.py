"""Does the converted model give the same answers as its source, on ordinary and on special samples?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo.contract.parity import Parity, Tolerance, compare
from neo.contract.strings import STRING, dtype_name
from neo.contract.tensors import TensorSpec
from neo.errors import ParityError
from neo.frontends.base import Arrays, Sample, SourceModel, SpecialSample
from neo.frontends.failures import first_line
from neo.frontends.special import FINITE

Run = Callable[[Arrays], Arrays]

# float16 has a relative precision of 1e-3; with a smaller tolerance, correct conversions would be refused
TOLERANCE = Tolerance(max_abs=1e-5, max_rel=1e-3)
HALF_TOLERANCE = Tolerance(max_abs=1e-3, max_rel=1e-2)


def check_parity(source: SourceModel, samples: tuple[Sample, ...], run_onnx: Run, reference: str) -> Parity:
    """Parity of the worst sample. Raises ParityError if that is out of tolerance."""
    worst = Parity(0.0, 0.0)
    for number, sample in enumerate(samples):
        actual = run_onnx(sample.inputs)
        for spec in source.outputs:
            parity, tolerance = _distance(source, spec, sample.outputs, actual)
            if not tolerance.accepts(parity):
                where = f"{reference}, sample {number}"
                found = _difference(sample.outputs[spec.name], actual[spec.name], parity)
                raise _parity_error(spec.name, found, where, parity, tolerance)
            worst = worst.worst(parity)
    return worst


def check_special(
    source: SourceModel, inputs: Iterable[tuple[str, Arrays]], run_onnx: Run | None, reference: str
) -> tuple[tuple[SpecialSample, ...], tuple[str, ...]]:
    """-> (samples of the kinds on which source and converted model agree, notes about the others).

    run_onnx: None if both are the same. Inputs that the source refuses are left out. Raises ParityError if the
    converted model differs on finite numbers.
    """
    agreed: list[SpecialSample] = []
    strays: dict[str, None] = {}
    for kind, arrays, want in _answers(source, list(inputs)):
        try:
            got = want if run_onnx is None else run_onnx(arrays)
        except Exception as error:  # noqa: BLE001  # ONNX Runtime's exceptions share no base class of their own
            got, failure = {}, f"fails: {first_line(error)[:200]}"
        else:
            failure = ""
        far = _far(source, want, got)
        if not far:
            agreed.append(SpecialSample(kind, arrays, want))
        elif kind in FINITE and _proves_a_fault(source, want, got, far):
            spec, parity, tolerance = far[0]
            found = failure or _difference(want[spec.name], got[spec.name], parity)
            raise _parity_error(spec.name, found, f"{reference}, on {kind}", parity, tolerance)
        else:
            strays[kind] = None
    kept = tuple(sample for sample in agreed if sample.kind not in strays)
    if not strays:
        return kept, ()
    said = f"on {', '.join(strays)} the converted model answers otherwise than {reference}"
    return kept, (f"{said}; engines are not judged on that",)


def _answers(source: SourceModel, inputs: list[tuple[str, Arrays]]) -> Iterator[tuple[str, Arrays, Arrays]]:
    """(kind, inputs, answer of the source), without inputs that it refuses."""
    run = source.run
    if run is None:
        return
    groups: dict[str, list[Arrays]] = {}
    for kind, arrays in inputs:
        groups.setdefault(kind, []).append(arrays)
    for kind, group in groups.items():
        # whatever a framework raises here means that it refuses such numbers
        try:
            with np.errstate(all="ignore"):
                answers = _stacked(run, group) if source.any_rows else [_copied(run(arrays)) for arrays in group]
        except Exception:  # noqa: BLE001, S112
            continue
        yield from ((kind, arrays, answer) for arrays, answer in zip(group, answers, strict=True))


def _stacked(run: Run, group: list[Arrays]) -> list[Arrays]:
    """One call for all inputs: for a classical model, a call costs more than its rows."""
    rows = len(next(iter(group[0].values())))
    found = run({name: np.concatenate([arrays[name] for arrays in group]) for name in group[0]})
    return [
        {name: array[start : start + rows] for name, array in found.items()}
        for start in range(0, rows * len(group), rows)
    ]


def _copied(answer: Arrays) -> Arrays:
    """Copies, because a framework may return the same buffer every time."""
    return {name: np.array(array) for name, array in answer.items()}


def _far(source: SourceModel, want: Arrays, got: Arrays) -> list[tuple[TensorSpec, Parity, Tolerance]]:
    found = [(spec, *_distance(source, spec, want, got)) for spec in source.outputs]
    return [(spec, parity, tolerance) for spec, parity, tolerance in found if not tolerance.accepts(parity)]


def _distance(source: SourceModel, spec: TensorSpec, want: Arrays, got: Arrays) -> tuple[Parity, Tolerance]:
    usual = HALF_TOLERANCE if spec.dtype == "float16" else TOLERANCE
    return compare({spec.name: want[spec.name]}, got), source.tolerance.get(spec.name, usual)


def _proves_a_fault(
    source: SourceModel, want: Arrays, got: Arrays, far: list[tuple[TensorSpec, Parity, Tolerance]]
) -> bool:
    """Does the difference prove that the conversion is wrong? Not in these cases:

    - one side overflows, because that depends on the order of summation;
    - the source is quantised, because the result for numbers that do not fit its integers is not defined;
    - only integers differ, while floats agree: among equal scores, no framework promises which one it chooses.
    """
    if source.tolerance or not all(_is_finite(array) for array in (*want.values(), *got.values())):
        return False
    floats = [spec for spec in source.outputs if spec.dtype.startswith("float")]
    return not floats or any(spec in floats for spec, _parity, _tolerance in far)


def _is_finite(array: NDArray[Any]) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


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

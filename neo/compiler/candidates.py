"""Every engine built for a target, measured where this machine can run it, and the choice between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from neo.compiler.measure import Measurement, measure_in_turn
from neo.compiler.request import AUTO
from neo.contract.device import Target
from neo.contract.manifest import ENGINE_DIR
from neo.contract.parity import Tolerance
from neo.contract.precision import FP32, PRECISIONS, Precision
from neo.engines import ENGINES
from neo.engines.base import BuildRequest, BuiltEngine, check_computes
from neo.engines.confined import build_engine
from neo.errors import EngineError, NeoError, ParityError
from neo.frontends.base import Conversion
from neo.runtime.golden import write_golden
from neo.store.durable import translating_os_errors


@dataclass(frozen=True, slots=True)
class Candidate:
    """folder: engine/ and golden samples. measurement: None where it was not run here. error: why it is out."""

    engine: str
    precision: Precision
    folder: Path
    built: BuiltEngine | None = None
    measurement: Measurement | None = None
    error: NeoError | None = None

    @property
    def label(self) -> str:
        """For people and as a key: "tvm", "tvm-bf16"."""
        return self.engine if self.precision == FP32 else f"{self.engine}-{self.precision.name}"

    def to_json(self) -> dict[str, Any]:
        return {
            "measurement": None if self.measurement is None else self.measurement.to_json(),
            "error": None if self.error is None else self.error.to_json(),
        }


def kinds(engine: str, precision: str, target: Target) -> tuple[tuple[str, Precision], ...]:
    """The engines to build, each with its precision. engine: "auto" or one of ENGINES. precision: "auto" or a name
    of PRECISIONS.

    Raises EngineError if the target has none of these.
    """
    engines = [name for name in ENGINES if name in target.engines and engine in (AUTO, name)]
    if not engines:
        raise EngineError(f"target {target.name} has no {engine} engine", hint=f"it has: {', '.join(target.engines)}")
    if precision != AUTO:
        check_computes(target, PRECISIONS[precision])
    found = tuple(
        (name, kind)
        for kind in PRECISIONS.values()
        for name in engines
        if kind in ENGINES[name].precisions and precision in (AUTO, kind.name) and kind.runs_on(target.cpu)
    )
    if not found:
        able = [name for name, recipe in ENGINES.items() if PRECISIONS[precision] in recipe.precisions]
        raise EngineError(
            f"the {' and '.join(engines)} engine does not compute in {precision}", hint=f"use --engine {able[0]}"
        )
    return found


def build_candidate(
    kind: tuple[str, Precision],
    target: Target,
    conversion: Conversion,
    model: Path,
    folder: Path,
    *,
    tune_s: float = 0.0,
) -> Candidate:
    """Build one engine in one precision into folder; what goes wrong is in the candidate. tune_s: as BuildRequest has
    it.
    """
    engine, precision = kind
    scratch = folder.with_name(f"{folder.name}-scratch")
    with translating_os_errors(folder):
        (folder / ENGINE_DIR).mkdir(parents=True)
        scratch.mkdir()
        write_golden(folder, [(sample.inputs, sample.outputs) for sample in conversion.samples])
    request = BuildRequest(
        model, target, conversion.inputs, conversion.outputs, folder / ENGINE_DIR, precision, tune_s=tune_s
    )
    try:
        return Candidate(engine, precision, folder, build_engine(engine, request, scratch))
    except NeoError as error:
        return Candidate(engine, precision, folder, error=error)


def measure_candidates(candidates: list[Candidate], threads: int, tolerance: Tolerance) -> list[Candidate]:
    """Time those that were built, in turn, and put out those that fail or answer wrongly."""
    measured = measure_in_turn({c.label: c.folder for c in candidates if c.built is not None}, threads)
    return [_judge(candidate, measured.get(candidate.label), tolerance) for candidate in candidates]


def choose(candidates: list[Candidate]) -> Candidate:
    """The fastest that is right; unmeasured, the first of ENGINES. Raises what the first engine failed of."""
    right = [candidate for candidate in candidates if candidate.error is None]
    if not right:
        first, *others = [candidate.error for candidate in candidates if candidate.error is not None]
        also = "".join(f"; the other engine: {error.message}" for error in others)
        raise type(first)(first.message + also, hint=first.hint, details=first.details)
    return min(right, key=lambda c: 0.0 if c.measurement is None else c.measurement.median_ms)


def explain(candidates: list[Candidate], chosen: Candidate, here: tuple[str, ...]) -> Iterator[str]:
    """What a person should know about the choice. here: why this machine could not measure, () if it did."""
    for candidate in candidates:
        if candidate.error is not None:
            yield f"{candidate.label} is out: {candidate.error.message}"
        if candidate.built is not None:
            yield from (f"{candidate.label}: {note}" for note in candidate.built.notes)
        if candidate.precision != FP32 and candidate.measurement is not None:
            yield f"{candidate.label}: {_accuracy_cost(candidate.measurement, candidates)}"
    if here:
        yield f"not measured on this machine ({'; '.join(here)}); the device tests it before it goes live"
        if len(candidates) > 1:
            yield f"{chosen.label} was taken unmeasured; --engine and --precision take another"


def _accuracy_cost(measured: Measurement, candidates: list[Candidate]) -> str:
    said = f"its answers differ from the source's by up to {measured.parity.max_rel:.1e} of the largest output"
    full = [c.measurement.parity.max_rel for c in candidates if c.precision == FP32 and c.measurement is not None]
    return f"{said}, in {FP32.name} by {max(full):.1e}" if full else said


def _judge(candidate: Candidate, measured: Measurement | NeoError | None, tolerance: Tolerance) -> Candidate:
    if measured is None:
        return candidate
    if isinstance(measured, NeoError):
        return replace(candidate, error=measured)
    error = None
    if not tolerance.accepts(measured.parity):
        found = measured.parity
        error = ParityError(
            f"its answers differ from the source framework's by {found.max_abs:.3g} ({found.max_rel:.3g} of the "
            f"largest output); allowed are {tolerance.max_abs:.3g} or {tolerance.max_rel:.3g}",
            hint="allow more with --tolerance, if your application can",
        )
    return replace(candidate, measurement=measured, error=error)

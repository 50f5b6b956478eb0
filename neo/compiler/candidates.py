"""Every engine built for a target, measured where this machine can run it, and the choice between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from neo.compiler.choice import UnmeasuredChoice
from neo.compiler.measure import Measurement, measure_in_turn
from neo.compiler.request import AUTO
from neo.contract.device import Target
from neo.contract.manifest import ENGINE_DIR
from neo.contract.parity import Tolerance
from neo.contract.precision import FP32, PRECISIONS, Precision
from neo.durable import translating_os_errors
from neo.engines import ENGINES, engines_for
from neo.engines.base import BuildOptions, BuildRequest, BuiltEngine, check_computes
from neo.engines.confined import build_engine
from neo.errors import DiskFull, EngineError, NeoError, ParityError
from neo.frontends.base import Conversion
from neo.runtime.golden import write_golden, write_special


class EngineVariant(NamedTuple):
    """An engine in one precision."""

    #: A key of ENGINES.
    engine: str
    precision: Precision


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine variant that was built for a target, or failed to be."""

    #: A key of ENGINES.
    engine: str
    precision: Precision
    #: With engine/ and golden samples while the compile runs; None for what an earlier one built.
    folder: Path | None = None
    #: None if the build failed.
    built: BuiltEngine | None = None
    #: None where it was not run here.
    measurement: Measurement | None = None
    #: Why it is out.
    error: NeoError | None = None
    #: The kinds of special samples (NaN, zeros, ...) that it answers otherwise than the source does.
    strays: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """For people and as a key: "tvm", "tvm-bf16"."""
        return self.engine if self.precision == FP32 else f"{self.engine}-{self.precision.name}"

    def to_json(self) -> dict[str, Any]:
        return {
            "measurement": None if self.measurement is None else self.measurement.to_json(),
            "error": None if self.error is None else self.error.to_json(),
            "strays": list(self.strays),
        }

    @classmethod
    def from_json(cls, label: str, value: dict[str, Any]) -> Candidate:
        """What ``to_json`` wrote in a report."""
        engine, _, precision = label.partition("-")
        measured, error = value["measurement"], value["error"]
        return cls(
            engine,
            PRECISIONS[precision or FP32.name],
            measurement=None if measured is None else Measurement.from_json(measured),
            error=None if error is None else NeoError.from_json(error),
            strays=tuple(value["strays"]),
        )


def engine_variants(engine: str, precision: str, target: Target) -> tuple[EngineVariant, ...]:
    """What to build. engine: "auto" or one of ENGINES. precision: "auto" or a name of PRECISIONS.

    Raises EngineError if the target has none of these.
    """
    engines = [name for name in engines_for(target) if engine in (AUTO, name)]
    if not engines:
        has = ", ".join(engines_for(target)) or f"none; known engines are: {', '.join(ENGINES)}"
        raise EngineError(f"target {target.name} has no {engine} engine", hint=f"it has: {has}")
    if precision != AUTO:
        check_computes(target, PRECISIONS[precision])
    found = tuple(
        EngineVariant(name, one)
        for one in PRECISIONS.values()
        for name in engines
        if one in ENGINES[name].precisions and precision in (AUTO, one.name) and one.runs_on(target.cpu)
    )
    if not found:
        able = [name for name, recipe in ENGINES.items() if PRECISIONS[precision] in recipe.precisions]
        raise EngineError(
            f"the {' and '.join(engines)} engine does not compute in {precision}", hint=f"use --engine {able[0]}"
        )
    return found


def build_candidate(
    variant: EngineVariant, target: Target, conversion: Conversion, model: Path, folder: Path, *, options: BuildOptions
) -> Candidate:
    """Build one engine in one precision into folder; what goes wrong is in the candidate."""
    engine, precision = variant
    scratch = folder.with_name(f"{folder.name}-scratch")
    with translating_os_errors(folder):
        (folder / ENGINE_DIR).mkdir(parents=True)
        scratch.mkdir()
        write_golden(folder, [(sample.inputs, sample.outputs) for sample in conversion.samples])
        write_special(folder, [(sample.kind, sample.inputs, sample.outputs) for sample in conversion.special])
    request = BuildRequest(
        model,
        target,
        conversion.inputs,
        conversion.outputs,
        folder / ENGINE_DIR,
        precision,
        **options.build_options(),
    )
    try:
        return Candidate(engine, precision, folder, build_engine(engine, request, scratch))
    except DiskFull:  # says nothing about the engine
        raise
    except NeoError as error:
        return Candidate(engine, precision, folder, error=error)


def measure_candidates(candidates: list[Candidate], threads: int, tolerance: Tolerance) -> list[Candidate]:
    """Time those that were built, in turn, and put out those that fail or answer wrongly."""
    folders = {c.label: c.folder for c in candidates if c.built is not None and c.folder is not None}
    measured = measure_in_turn(folders, threads)
    return [_judge(candidate, measured.get(candidate.label), tolerance) for candidate in candidates]


def choose(candidates: list[Candidate], unmeasured: UnmeasuredChoice | None) -> Candidate:
    """The fastest that is right, on special samples too if any is; where nothing could be measured, of the engine that
    unmeasured names, if it is right.

    Raises what the first engine failed of if none is.
    """
    right = [candidate for candidate in candidates if candidate.error is None]
    if not right:
        first, *others = [candidate.error for candidate in candidates if candidate.error is not None]
        also = "".join(f"; the other engine: {error.message}" for error in others)
        raise type(first)(first.message + also, hint=first.hint, details=first.details)
    if unmeasured is not None:
        # the first precision: whether another keeps the accuracy was not measured either
        return min(right, key=lambda c: (c.precision != right[0].precision, c.engine != unmeasured.engine))
    faithful = [candidate for candidate in right if not candidate.strays]
    return min(faithful or right, key=lambda c: 0.0 if c.measurement is None else c.measurement.median_ms)


def explain(
    candidates: list[Candidate], chosen: Candidate, here: tuple[str, ...], unmeasured: UnmeasuredChoice | None
) -> Iterator[str]:
    """What a person should know about the choice. here: why this machine could not measure, () if it did. unmeasured:
    what was chosen by then, None where there was no choice.
    """
    for candidate in candidates:
        if candidate.error is not None:
            yield f"{candidate.label} is out: {candidate.error.message}"
        elif candidate.strays:
            fate = "so it was not taken" if candidate is not chosen else "and is taken, as no other engine is better"
            yield f"{candidate.label} answers otherwise than the source on {', '.join(candidate.strays)}, {fate}"
        if candidate.built is not None:
            yield from (f"{candidate.label}: {note}" for note in candidate.built.notes)
        if candidate.precision != FP32 and candidate.measurement is not None:
            yield f"{candidate.label}: {_accuracy_cost(candidate.measurement, candidates)}"
    if here:
        yield f"not measured on this machine ({'; '.join(here)}); the device tests it before it goes live"
        if unmeasured is not None:
            why = f"for a {unmeasured.kind.value} model: {unmeasured.evidence}"
            if chosen.engine != unmeasured.engine:
                why = f"because {unmeasured.engine} is out"
            yield f"{chosen.label} was taken unmeasured, {why}; --engine and --precision take another"


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
    strays = tuple(kind for kind, parity in measured.special.items() if not tolerance.accepts(parity))
    return replace(candidate, measurement=measured, error=error, strays=strays)

"""Every engine built for a target, measured where this machine can run it, and the choice between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neo.contract.device import Target
from neo.contract.manifest import ENGINE_DIR, GOLDEN_PATH
from neo.contract.parity import Tolerance
from neo.engines.base import BuildRequest, BuiltEngine
from neo.engines.confined import build_engine
from neo.errors import NeoError, ParityError
from neo.frontends.base import Conversion
from neo.measure import Measurement, measure_in_turn
from neo.runtime.golden import write_golden
from neo.store.durable import translating_os_errors


@dataclass(frozen=True, slots=True)
class Candidate:
    """folder: engine/ and golden.npz. measurement: None where it was not run here. error: why it is out."""

    engine: str
    folder: Path
    built: BuiltEngine | None = None
    measurement: Measurement | None = None
    error: NeoError | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "measurement": None if self.measurement is None else self.measurement.to_json(),
            "error": None if self.error is None else self.error.to_json(),
        }


def build_candidate(
    engine: str, target: Target, conversion: Conversion, model: Path, folder: Path, *, tune_s: float = 0.0
) -> Candidate:
    """Build one engine into folder; what goes wrong is in the candidate. tune_s: as BuildRequest has it."""
    scratch = folder.with_name(f"{folder.name}-scratch")
    with translating_os_errors(folder):
        (folder / ENGINE_DIR).mkdir(parents=True)
        scratch.mkdir()
        write_golden(folder / GOLDEN_PATH, [(sample.inputs, sample.outputs) for sample in conversion.samples])
    request = BuildRequest(model, target, conversion.inputs, conversion.outputs, folder / ENGINE_DIR, tune_s=tune_s)
    try:
        return Candidate(engine, folder, build_engine(engine, request, scratch))
    except NeoError as error:
        return Candidate(engine, folder, error=error)


def measure_candidates(candidates: list[Candidate], threads: int, tolerance: Tolerance) -> list[Candidate]:
    """Time those that were built, in turn, and put out those that fail or answer wrongly."""
    measured = measure_in_turn({c.engine: c.folder for c in candidates if c.built is not None}, threads)
    return [_judge(candidate, measured.get(candidate.engine), tolerance) for candidate in candidates]


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
            yield f"{candidate.engine} is out: {candidate.error.message}"
        if candidate.built is not None:
            yield from (f"{candidate.engine}: {note}" for note in candidate.built.notes)
    if here:
        yield f"not measured on this machine ({'; '.join(here)}); the device tests it before it goes live"
        if len(candidates) > 1:
            yield f"{chosen.engine} was taken unmeasured; --engine takes another"


def _judge(candidate: Candidate, measured: Measurement | NeoError | None, tolerance: Tolerance) -> Candidate:
    if measured is None:
        return candidate
    if isinstance(measured, NeoError):
        return Candidate(candidate.engine, candidate.folder, candidate.built, error=measured)
    error = None
    if not tolerance.accepts(measured.parity):
        found = measured.parity
        error = ParityError(
            f"its answers differ from the source framework's by {found.max_abs:.3g} ({found.max_rel:.3g} of the "
            f"largest output); allowed are {tolerance.max_abs:.3g} or {tolerance.max_rel:.3g}",
            hint="allow more with --tolerance, if your application can",
        )
    return Candidate(candidate.engine, candidate.folder, candidate.built, measured, error)

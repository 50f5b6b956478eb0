"""run(): the only module that knows the order of the steps."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from neo.compiler.bundle import publish, refuse_listed, sign_bundle
from neo.compiler.cache import KEY, find_cached, is_signed_by, request_keys, source_key
from neo.compiler.candidates import (
    Candidate,
    build_candidate,
    choose,
    engine_variants,
    explain,
    measure_candidates,
)
from neo.compiler.choice import UnmeasuredChoice, choose_unmeasured, find_kind
from neo.compiler.draft import SOURCE_KEY, Draft, stage
from neo.compiler.request import AUTO, CompileRequest
from neo.compiler.result import CompiledBundle, CompiledBundles
from neo.compiler.search import check_search
from neo.contract.device import Target, parse_name
from neo.contract.fields import ContractError
from neo.contract.manifest import Manifest
from neo.contract.parity import Tolerance
from neo.contract.precision import FP32, PRECISIONS
from neo.contract.variants import Traits, machine_kind
from neo.durable import translating_os_errors
from neo.engines import ENGINES
from neo.errors import EngineError, InputSpecError, UsageError
from neo.frontends.base import Conversion, ConversionRequest, Sample, SpecialSample
from neo.graph.confined import rewrite_confined
from neo.graph.layout import Permutations, permutations, transposed_arrays, transposed_spec
from neo.graph.options import RewriteOptions
from neo.isolation import confinement_here
from neo.isolation.scratch import scratch_folder
from neo.processing.documents import Processing, read_processing
from neo.runtime.host import read_host
from neo.runtime.load import available_cores
from neo.store.bundles import Bundle
from neo.targets import load_target, why_not_here

OnStatus = Callable[[str], None]
"""Called with a few words when something begins."""


def run(request: CompileRequest, on_status: OnStatus = lambda _: None) -> CompiledBundles:
    """One bundle per target, all listed in one step at the end. Raises NeoError; then no new one is listed."""
    targets = _check(request)  # a typing error costs no minute of converting
    processing = read_processing(request.preprocess, request.postprocess)
    if request.debug_folder is not None:
        with translating_os_errors(request.debug_folder):
            request.debug_folder.mkdir(parents=True, exist_ok=True)
    source = source_key(request, processing)
    keys = request_keys(request, targets, source)

    def look_up() -> list[CompiledBundle | None]:
        return [
            None if key is None or request.debug_folder is not None else _cached(request, key, target)
            for target, key in zip(targets, keys, strict=True)
        ]

    compiled = look_up()
    missing = [(target, key) for target, key, found in zip(targets, keys, compiled, strict=True) if found is None]
    _check_references(request, [target for target, _ in missing])
    if not missing:
        return CompiledBundles(found for found in compiled if found is not None)
    built = iter(_compile(request, processing, source, missing, on_status))
    # again: what was there before goes on under the number that the others have got
    return CompiledBundles(
        next(built) if before is None else now or before for before, now in zip(compiled, look_up(), strict=True)
    )


def _check(request: CompileRequest) -> list[Target]:
    """-> the targets. Raises NeoError for what is known to fail."""
    if not request.targets:
        raise UsageError("no target is named", hint="leave it out for this machine, or choose one of: neo targets")
    targets = [load_target(name) for name in request.targets]
    if request.engine not in (AUTO, *ENGINES):
        raise UsageError(f"unknown engine {request.engine!r}", hint=f"choose one of: {AUTO}, {', '.join(ENGINES)}")
    if request.precision not in (AUTO, *PRECISIONS):
        raise UsageError(
            f"unknown precision {request.precision!r}", hint=f"choose one of: {AUTO}, {', '.join(PRECISIONS)}"
        )
    names = [target.name for target in targets]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"two bundles would be for {', '.join(twice)}", hint="name every target once")
    for target in targets:
        engine_variants(request.engine, request.precision, target)
    for what, name in (("--name", request.name), ("--version", request.version)):
        if name is not None:
            _check_name(what, name)
    if request.tune_s:
        check_search(request.tune_s, targets, tuple(ENGINES) if request.engine == AUTO else (request.engine,))
    return targets


def _cached(request: CompileRequest, key: str, target: Target) -> CompiledBundle | None:
    """The bundle of an earlier compile, signed by the key of this one."""
    found = find_cached(request.store, key, _bundle_name(request), request.version, target.name)
    if (
        found is not None
        and request.signer is not None
        and not is_signed_by(request.store, found.bundle, request.signer)
    ):
        sign_bundle(request.store, found.bundle, request.signer)
    return found


def _compile(
    request: CompileRequest,
    processing: Processing | None,
    source: str | None,
    targets: Sequence[tuple[Target, str | None]],
    on_status: OnStatus,
) -> tuple[CompiledBundle, ...]:
    """source: the key of what is compiled. targets: each with the key of its compile."""
    seconds: dict[str, float] = {}
    with scratch_folder("neo-compile-") as scratch:
        with _timed(seconds, "convert"):
            conversion = _convert(request, processing, scratch, on_status)
        _check_shapes(conversion)
        changed = _permutations(request, conversion)
        with _timed(seconds, "rewrite"):
            on_status("rewriting the graph")
            (scratch / "graph").mkdir()
            options = RewriteOptions(changed, request.debug_folder)
            model = rewrite_confined(conversion.onnx, scratch / "graph", options)
        conversion = _transposed(conversion, changed)
        builds = [
            _TargetBuild(request, processing, source, target, key, conversion, model, scratch / f"target-{index}")
            for index, (target, key) in enumerate(targets)
        ]
        choices = [_choose_engine(build, dict(seconds), on_status) for build in builds]
        on_status("writing the bundles")
        drafts = [_stage(choice) for choice in choices]
        bundles = publish(request.store, drafts, request.signer, replace_listed=request.replace)
        return tuple(_compiled(choice, bundle) for choice, bundle in zip(choices, bundles, strict=True))


def _check_references(request: CompileRequest, targets: Sequence[Target]) -> None:
    """What is refused at the end is refused before the work, where it can be known."""
    if request.version is not None and not request.replace:
        wanted = [f"{_bundle_name(request)}:{request.version}-{target.name}" for target in targets]
        refuse_listed(request.store.index().manifests, wanted, request.store)


def _check_name(what: str, name: str) -> None:
    try:
        parse_name(name, what)
    except ContractError as error:
        raise UsageError(error.message, hint=error.hint) from error


def _bundle_name(request: CompileRequest) -> str:
    return request.name or default_name(request.model or Path((request.module or "").rpartition(":")[2]))


def default_name(model: Path) -> str:
    """A bundle name from a file name: "my model-symbol.json" -> "my-model"."""
    stem = model.resolve().name
    for ending in ("-symbol.json", *model.suffixes):
        stem = stem.removesuffix(ending)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("._-").lower()
    return name[:48] or "model"


def _convert(request: CompileRequest, processing: Processing | None, scratch: Path, on_status: OnStatus) -> Conversion:
    from neo.frontends.sandbox import convert
    from neo.frontends.sources import find_source

    source = find_source(
        request.model, request.module, request.weights, request.framework, trust_pickle=request.trust_pickle
    )
    on_status(f"converting from {source.framework}")
    folder = scratch / "convert"
    folder.mkdir()
    return convert(
        ConversionRequest(
            source=source.path,
            framework=source.framework,
            scratch=folder,
            inputs=request.inputs,
            dims=request.dims,
            signature=request.signature,
            outputs=request.outputs,
            golden=None if request.golden is None else request.golden.absolute(),
            trust_pickle=request.trust_pickle,
            processing=processing,
            factory=source.factory,
        )
    )


def _check_shapes(conversion: Conversion) -> None:
    if len({spec.name for spec in conversion.inputs}) != len(conversion.inputs) or not conversion.outputs:
        raise InputSpecError("the model has two inputs of one name, or no output")


def _permutations(request: CompileRequest, conversion: Conversion) -> Permutations:
    framework = conversion.framework.partition(" ")[0]
    return permutations(request.layouts, conversion.inputs, conversion.outputs, framework)


def _transposed(conversion: Conversion, changed: Permutations) -> Conversion:
    """What is said of the model, for its new interface."""
    return replace(
        conversion,
        inputs=tuple(transposed_spec(spec, changed) for spec in conversion.inputs),
        outputs=tuple(transposed_spec(spec, changed) for spec in conversion.outputs),
        samples=tuple(
            Sample(transposed_arrays(sample.inputs, changed), transposed_arrays(sample.outputs, changed))
            for sample in conversion.samples
        ),
        special=tuple(
            SpecialSample(
                sample.kind, transposed_arrays(sample.inputs, changed), transposed_arrays(sample.outputs, changed)
            )
            for sample in conversion.special
        ),
    )


@dataclass(frozen=True, slots=True)
class _TargetBuild:
    """One target of one request, with what all of them share."""

    request: CompileRequest
    processing: Processing | None
    #: Of what is compiled; None if it cannot be known whether something else is made of the same.
    source_key: str | None
    target: Target
    #: Of this compile, for a later one of the same; None if it is not to be found again.
    cache_key: str | None
    conversion: Conversion
    #: The converted model after the graph's rewrites.
    model: Path
    #: A folder of its own.
    scratch: Path

    @property
    def tolerance(self) -> Tolerance:
        own = self.conversion.tolerance
        asked = self.request.tolerance or PRECISIONS.get(self.request.precision, FP32).tolerance
        return asked if own is None else asked.widest(own)


@dataclass(frozen=True, slots=True)
class _Choice:
    """What a build came to, before anything is written."""

    job: _TargetBuild
    chosen: Candidate
    candidates: tuple[Candidate, ...]
    #: Why it was chosen, where nothing could be measured and there was a choice.
    unmeasured: UnmeasuredChoice | None
    notes: tuple[str, ...]
    seconds: dict[str, float]


def _choose_engine(job: _TargetBuild, seconds: dict[str, float], on_status: OnStatus) -> _Choice:
    request, target = job.request, job.target
    candidates = []
    here = why_not_here(target)
    options = replace(request, tune_s=0.0) if here else request
    variants = engine_variants(request.engine, request.precision, target)
    for variant in variants:
        name = f"{variant.engine}-{variant.precision.name}"
        tunes = options.tune_s and ENGINES[variant.engine].tunes
        search = f", measuring kernels for up to {options.tune_s:g} s" if tunes else ""
        on_status(f"building {name} for {target.name}{search}")
        start = time.perf_counter()
        folder = job.scratch / name
        candidate = build_candidate(variant, target, job.conversion, job.model, folder, options=options)
        seconds[f"build_{candidate.label}"] = round(time.perf_counter() - start, 3)
        candidates.append(candidate)
    unmeasured = None
    if not here:
        with _timed(seconds, "measure"):
            on_status(f"measuring {', '.join(candidate.label for candidate in candidates)}")
            threads = request.threads or min(target.cpu.cores, available_cores())
            candidates = measure_candidates(candidates, threads, job.tolerance)
    elif len(variants) > 1:
        (job.scratch / "kind").mkdir()
        unmeasured = choose_unmeasured(find_kind(job.model, job.scratch / "kind"), target)
    chosen = choose(candidates, unmeasured)
    notes = [*job.conversion.notes, *explain(candidates, chosen, here, unmeasured)]
    if job.conversion.parity is None:
        notes.append(f"no source framework here to compare with: the golden outputs are by {job.conversion.reference}")
    if job.conversion.why:
        notes.append(job.conversion.why)
    confinement = confinement_here()
    if not confinement.network:
        notes.append(f"the model's code could have reached the network: {confinement.refused}; see neo doctor")
    if request.tune_s and here:
        notes.append(f"kernels that were not measured before stay so: this machine cannot run code for {target.name}")
    return _Choice(job, chosen, tuple(candidates), unmeasured, tuple(notes), seconds)


def _stage(choice: _Choice) -> Draft:
    job, chosen = choice.job, choice.chosen
    if chosen.built is None or chosen.folder is None:
        raise EngineError(f"{chosen.engine} was chosen but not built")
    request, target = job.request, job.target
    manifest = Manifest(
        name=_bundle_name(request),
        version=request.version or "",
        target=target.name,
        requires=replace(target.requirements, engines=dict(chosen.built.needs)),
        engine=chosen.engine,
        engine_version=chosen.built.version,
        precision=chosen.precision.name,
        source=job.conversion.framework,
        inputs=job.conversion.inputs,
        outputs=job.conversion.outputs,
        labels=job.conversion.labels,
        tolerance=job.tolerance,
    )
    parity = job.conversion.parity
    report = {
        "source": job.conversion.framework,
        "golden_outputs_from": job.conversion.reference,
        "processing": None if job.processing is None else job.processing.summary(),
        "conversion_parity": None if parity is None else parity.to_json(),
        "target": target.to_json(),
        "chosen": chosen.label,
        "unmeasured_choice": None if choice.unmeasured is None else choice.unmeasured.to_json(),
        SOURCE_KEY: job.source_key,
        KEY: job.cache_key,
        "candidates": {candidate.label: candidate.to_json() for candidate in choice.candidates},
        "notes": list(choice.notes),
        "seconds": choice.seconds,
        "confinement": confinement_here().to_json(),
    }
    return stage(request.store, manifest, chosen.folder, report, _traits(choice))


def _traits(choice: _Choice) -> Traits:
    """Where the engine was measured, it was on this machine."""
    processor, measured = choice.job.target.cpu.mcpu, choice.chosen.measurement
    if measured is None:
        return Traits(processor)
    host = read_host()
    return Traits(processor, measured.median_ms, machine_kind(host.arch, host.cores, host.features))


def _compiled(choice: _Choice, bundle: Bundle) -> CompiledBundle:
    measured = choice.chosen.measurement
    parity = choice.job.conversion.parity if measured is None else measured.parity
    return CompiledBundle(bundle, choice.candidates, parity, choice.seconds, choice.notes)


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = round(time.perf_counter() - start, 3)

"""compile_model(): the only module that knows the order of the steps."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neo.bundle import next_version, sign_bundle, write_bundle
from neo.candidates import AUTO, Candidate, build_candidate, choose, explain, kinds, measure_candidates
from neo.contract.device import Target, parse_name
from neo.contract.fields import ContractError, dump_object
from neo.contract.manifest import REPORT_PATH, Manifest
from neo.contract.parity import Parity, Tolerance
from neo.contract.tensors import TensorSpec
from neo.engines import ENGINES
from neo.engines.base import BF16, FP32, PRECISIONS
from neo.errors import EngineError, InputSpecError, UsageError
from neo.frontends.base import Conversion, ConversionRequest, Sample, SpecialSample
from neo.graph.confined import rewrite_confined
from neo.processing.documents import Processing, read_processing
from neo.runtime.load import available_cores
from neo.store import Store
from neo.store.bundles import Bundle
from neo.store.durable import translating_os_errors
from neo.targets import load_target, why_not_here
from neo.tuning import check_search

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

# fp32 on another processor sums in another order; a wrong model is off by far more
DEFAULT_TOLERANCE = Tolerance(max_abs=1e-5, max_rel=1e-3)
# bf16 keeps 8 bits of every input and weight; trained networks lose about one percent of the largest output
BF16_TOLERANCE = Tolerance(max_abs=1e-5, max_rel=5e-2)

Progress = Callable[[str], None]
"""Called with a few words when a step begins."""


@dataclass(frozen=True, slots=True)
class CompileRequest:
    """model: a model file or folder; None if module, "package.module:name" of code that builds it, and weights, the
    file with its weights, name it. targets: names of targets, or .toml files. engine: "auto" or one of ENGINES.

    name, version: of the bundle; by default the file's name and the next whole number. inputs, dims, signature,
    outputs, framework, golden, trust_pickle: see ``neo.frontends.base.ConversionRequest``; framework None: recognised
    from the file. preprocess, postprocess: TOML documents with steps that become part of the model, see
    docs/pipelines.md. layouts: "NCHW" or "NHWC" by input or output, under "" for every image that goes in; inputs and
    golden speak of the model as its file has it. threads: for measuring, by default as many as the target has cores.
    tolerance: how far answers may be from the source framework's, by default DEFAULT_TOLERANCE, or BF16_TOLERANCE where
    bf16 is asked for; a quantised model sets its own where that is wider. precision: "fp32", "bf16", or "auto", which
    takes bf16 where it is faster and within the tolerance.
    signer: None leaves the bundles unsigned, and agents refuse them. tune_s: seconds for measuring configurations of
    kernels, of each target that this machine can run; what is known already is used in any case.
    """

    model: Path | None
    store: Store
    signer: Signer | None
    targets: tuple[str, ...] = ("host",)
    engine: str = AUTO
    name: str | None = None
    version: str | None = None
    framework: str | None = None
    inputs: tuple[TensorSpec, ...] = ()
    dims: Mapping[str, int] = field(default_factory=dict)
    signature: str | None = None
    outputs: tuple[str, ...] = ()
    layouts: Mapping[str, str] = field(default_factory=dict)
    golden: Path | None = None
    preprocess: Path | None = None
    postprocess: Path | None = None
    trust_pickle: bool = False
    threads: int | None = None
    tolerance: Tolerance | None = None
    module: str | None = None
    weights: Path | None = None
    precision: str = FP32
    tune_s: float = 0.0


@dataclass(frozen=True, slots=True)
class CompiledBundle:
    bundle: Bundle
    candidates: tuple[Candidate, ...]
    parity: Parity | None
    seconds: dict[str, float]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        manifest = self.bundle.manifest
        measured = {c.label: c.measurement for c in self.candidates}
        return {
            "reference": manifest.reference,
            "digest": self.bundle.descriptor.digest,
            "name": manifest.name,
            "version": manifest.version,
            "target": manifest.target,
            "engine": manifest.engine,
            "precision": manifest.precision,
            "size_bytes": self.bundle.size_bytes,
            "inputs": [spec.to_json() for spec in manifest.inputs],
            "outputs": [spec.to_json() for spec in manifest.outputs],
            "parity": None if self.parity is None else self.parity.to_json(),
            "latency_ms": {name: None if m is None else m.median_ms for name, m in measured.items()},
            "peak_rss_mb": {name: None if m is None else m.peak_rss_mb for name, m in measured.items()},
            "seconds": self.seconds,
            "notes": list(self.notes),
        }


def compile_model(  # what `neo.compile` is: the request's fields as arguments, for a notebook
    model: object = None,
    example_inputs: object = None,
    *,
    target: str | tuple[str, ...] = "host",
    store: str | Path | None = None,
    key: str | Path | None = None,
    **options: Any,
) -> tuple[CompiledBundle, ...]:
    """Compile a model file, or a ``torch.nn.Module`` with example inputs, and sign it; or code that builds the model,
    by module="package.module:function" and weights=path.

    options: the other fields of CompileRequest by name. Raises NeoError.
    """
    from neo.settings import key_path, store_path
    from neo.trust.keys import load_or_make_signer

    common = {
        "store": Store(Path(store) if store is not None else store_path()),
        "signer": load_or_make_signer(Path(key) if key is not None else key_path()),
        "targets": (target,) if isinstance(target, str) else tuple(target),
        **options,
    }
    if model is None or isinstance(model, str | os.PathLike):
        return run(CompileRequest(model=None if model is None else Path(model), **common))
    from neo.frontends.torch_module import export_program

    with tempfile.TemporaryDirectory(prefix="neo-export-") as folder:
        program = Path(folder) / f"{type(model).__name__.lower()}.pt2"
        export_program(model, example_inputs, program)
        return run(CompileRequest(model=program, **common))


def run(request: CompileRequest, progress: Progress = lambda _: None) -> tuple[CompiledBundle, ...]:
    """One bundle per target. Raises NeoError; then the store has no bundle of this call."""
    targets = [load_target(name) for name in request.targets]  # a typing error costs no minute of converting
    if request.engine not in (AUTO, *ENGINES):
        raise UsageError(f"unknown engine {request.engine!r}", hint=f"choose one of: {AUTO}, {', '.join(ENGINES)}")
    if request.precision not in (AUTO, *PRECISIONS):
        raise UsageError(
            f"unknown precision {request.precision!r}", hint=f"choose one of: {AUTO}, {', '.join(PRECISIONS)}"
        )
    for target in targets:
        kinds(request.engine, request.precision, target)
    for what, name in (("--name", request.name), ("--version", request.version)):
        if name is not None:
            _check_name(what, name)
    if request.tune_s:
        check_search(request.tune_s, targets, tuple(ENGINES) if request.engine == AUTO else (request.engine,))
    processing = read_processing(request.preprocess, request.postprocess)
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="neo-compile-") as folder:
        scratch = Path(folder)
        with _timed(seconds, "convert"):
            conversion = _convert(request, processing, scratch, progress)
        _check_shapes(conversion)
        if request.layouts:
            conversion = _change_layouts(request, conversion, scratch)
        with _timed(seconds, "rewrite"):
            progress("rewriting the graph")
            (scratch / "graph").mkdir()
            model = rewrite_confined(conversion.onnx, scratch / "graph")
        jobs = [
            _Job(request, processing, target, conversion, model, scratch / f"target-{index}")
            for index, target in enumerate(targets)
        ]
        choices = [_choose_engine(job, dict(seconds), progress) for job in jobs]
        progress("writing the bundles")
        return tuple(_write(choice) for choice in choices)


def _check_name(what: str, name: str) -> None:
    try:
        parse_name(name, what)
    except ContractError as error:
        raise UsageError(error.message, hint=error.hint) from error


def default_name(model: Path) -> str:
    """A bundle name from a file name: "my model-symbol.json" -> "my-model"."""
    stem = model.resolve().name
    for ending in ("-symbol.json", *model.suffixes):
        stem = stem.removesuffix(ending)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("._-").lower()
    return name[:48] or "model"


def _convert(request: CompileRequest, processing: Processing | None, scratch: Path, progress: Progress) -> Conversion:
    from neo.frontends.sandbox import convert
    from neo.frontends.sources import find_source

    source = find_source(
        request.model, request.module, request.weights, request.framework, trust_pickle=request.trust_pickle
    )
    progress(f"converting from {source.framework}")
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
            golden=None if request.golden is None else request.golden.resolve(),
            trust_pickle=request.trust_pickle,
            processing=processing,
            factory=source.factory,
        )
    )


def _check_shapes(conversion: Conversion) -> None:
    if len({spec.name for spec in conversion.inputs}) != len(conversion.inputs) or not conversion.outputs:
        raise InputSpecError("the model has two inputs of one name, or no output")


def _change_layouts(request: CompileRequest, conversion: Conversion, scratch: Path) -> Conversion:
    from neo.graph.confined import transpose_confined
    from neo.graph.layout import permutations, transposed_arrays, transposed_spec

    framework = conversion.framework.partition(" ")[0]
    changed = permutations(request.layouts, conversion.inputs, conversion.outputs, framework)
    (scratch / "layout").mkdir()
    return replace(
        conversion,
        onnx=transpose_confined(conversion.onnx, scratch / "layout", changed) if changed else conversion.onnx,
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
class _Job:
    """One target of one request, with the converted and rewritten model; scratch: a folder of its own."""

    request: CompileRequest
    processing: Processing | None
    target: Target
    conversion: Conversion
    model: Path
    scratch: Path

    @property
    def tolerance(self) -> Tolerance:
        own = self.conversion.tolerance
        usual = BF16_TOLERANCE if self.request.precision == BF16 else DEFAULT_TOLERANCE
        asked = self.request.tolerance or usual
        return asked if own is None else asked.widest(own)


@dataclass(frozen=True, slots=True)
class _Choice:
    """What a job came to, before anything is written."""

    job: _Job
    chosen: Candidate
    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...]
    seconds: dict[str, float]


def _choose_engine(job: _Job, seconds: dict[str, float], progress: Progress) -> _Choice:
    request, target = job.request, job.target
    candidates = []
    here = why_not_here(target)
    tune_s = 0.0 if here else request.tune_s
    for kind in kinds(request.engine, request.precision, target):
        name = "-".join(kind)
        search = f", measuring kernels for up to {tune_s:g} s" if tune_s and ENGINES[kind[0]].tunes else ""
        progress(f"building {name} for {target.name}{search}")
        start = time.perf_counter()
        place = job.scratch / name
        candidate = build_candidate(kind, target, job.conversion, job.model, place, tune_s=tune_s)
        seconds[f"build_{candidate.label}"] = round(time.perf_counter() - start, 3)
        candidates.append(candidate)
    if not here:
        with _timed(seconds, "measure"):
            progress(f"measuring {', '.join(candidate.label for candidate in candidates)}")
            threads = request.threads or min(target.cores, available_cores())
            candidates = measure_candidates(candidates, threads, job.tolerance)
    chosen = choose(candidates)
    notes = [*job.conversion.notes, *explain(candidates, chosen, here)]
    if job.conversion.parity is None:
        notes.append(f"no source framework here to compare with: the golden outputs are by {job.conversion.reference}")
    if job.conversion.why:
        notes.append(job.conversion.why)
    if request.tune_s and here:
        notes.append(f"kernels that were not measured before stay so: this machine cannot run code for {target.name}")
    return _Choice(job, chosen, tuple(candidates), tuple(notes), seconds)


def _write(choice: _Choice) -> CompiledBundle:
    job, chosen = choice.job, choice.chosen
    if chosen.built is None:
        raise EngineError(f"{chosen.engine} was chosen but not built")
    request, target = job.request, job.target
    name = request.name or default_name(request.model or Path((request.module or "").rpartition(":")[2]))
    manifest = Manifest(
        name=name,
        version=request.version or next_version(request.store, name, target.name),
        target=target.name,
        requires=replace(target.requirements, engines=dict(chosen.built.needs)),
        engine=chosen.engine,
        engine_version=chosen.built.version,
        precision=chosen.precision,
        source=job.conversion.framework,
        inputs=job.conversion.inputs,
        outputs=job.conversion.outputs,
        labels=job.conversion.labels,
        tolerance=job.tolerance,
    )
    parity = job.conversion.parity
    report = {
        "reference": manifest.reference,
        "source": job.conversion.framework,
        "golden_outputs_from": job.conversion.reference,
        "processing": None if job.processing is None else job.processing.summary(),
        "conversion_parity": None if parity is None else parity.to_json(),
        "target": target.to_json(),
        "chosen": chosen.label,
        "candidates": {candidate.label: candidate.to_json() for candidate in choice.candidates},
        "notes": list(choice.notes),
        "seconds": choice.seconds,
    }
    with translating_os_errors(chosen.folder):
        (chosen.folder / REPORT_PATH).write_bytes(dump_object(report))
    bundle = write_bundle(request.store, manifest, chosen.folder)
    if request.signer is not None:
        sign_bundle(request.store, bundle, request.signer)
    measured = parity if chosen.measurement is None else chosen.measurement.parity
    return CompiledBundle(bundle, choice.candidates, measured, choice.seconds, choice.notes)


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = round(time.perf_counter() - start, 3)

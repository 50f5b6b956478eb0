"""``python -m benchmarks.latency``: our engines, ONNX Runtime and OpenVINO on the same ONNX files, in one run."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.build import Build, build
from benchmarks.options import (
    choose_names,
    describe_run,
    errors_as_messages,
    headline,
    pace_options,
    parse_threads,
    progress,
)
from benchmarks.own import own_folder
from benchmarks.plot import plot_latency
from benchmarks.race import Entry, Pace, race
from benchmarks.results import Case, Contender, contenders
from benchmarks.tables import latency_tables
from benchmarks.zoo import MODEL_FILE, ZOO, model_folder
from neo.errors import NeoError, UsageError
from neo.runtime.host import read_host
from neo.targets import HOST, load_target, why_not_here


def measure_model(
    model: str,
    folder: Path,
    who: Sequence[Contender],
    threads: Sequence[int],
    pace: Pace,
    *,
    target: str = HOST,
    tune_s: float = 0.0,
) -> list[Case]:
    """folder: model.onnx and golden samples. target, tune_s: as ``build`` takes them. What fails is in the case."""
    with tempfile.TemporaryDirectory(prefix="neo-latency-") as scratch:
        builds: dict[str, Build] = {}
        failed: dict[str, NeoError] = {}
        for contender in who:
            if contender.engine is None:
                continue
            progress(f"{model}: building {contender.name}")
            place = Path(scratch) / contender.name
            try:
                builds[contender.name] = build(
                    contender.engine,
                    folder / MODEL_FILE,
                    place,
                    pace.limit_s,
                    precision=contender.precision,
                    target=target,
                    tune_s=tune_s,
                )
            except NeoError as error:
                failed[contender.name] = error
        entries = {
            contender.name: Entry(contender.library, _path(contender, folder, builds), folder, contender.precision)
            for contender in who
            if contender.name not in failed
        }
        cases = []
        for count in threads:
            progress(f"{model}: measuring {', '.join(entries)} on {count} thread{'s' if count > 1 else ''}")
            raced = race(entries, count, pace)
            results = {contender.name: failed.get(contender.name) or raced[contender.name] for contender in who}
            cases.append(Case(model, count, builds, results))
        return cases


def _path(contender: Contender, folder: Path, builds: dict[str, Build]) -> Path:
    return builds[contender.name].folder if contender.engine else folder / MODEL_FILE


def _named(files: Sequence[Path]) -> dict[str, Path]:
    """Files by name; often all are called model.onnx, and the folder's says more. Of equal names, the last is taken."""
    return {path.resolve().parent.name if path.stem == "model" else path.stem: path for path in files}


def _features(name: str) -> tuple[str, ...]:
    """Of the target. Raises UsageError for one that this machine cannot run."""
    target = load_target(name)
    if reasons := why_not_here(target):
        raise UsageError(
            f"this machine cannot run what is built for {name}: {'; '.join(reasons)}", hint="see `neo targets`"
        )
    return target.cpu.features


@click.command(epilog="Example: python -m benchmarks.latency --models resnet50,bert_base --threads 1,2 --json out.json")
@click.option("--models", help=f"Some of: {', '.join(ZOO)}. [default: all]")
@click.option(
    "--onnx",
    "files",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    multiple=True,
    help="A model of your own, with fixed shapes, instead of the zoo's; may be given several times.",
)
@pace_options(seconds=1.0)
@click.option(
    "--target", default=HOST, show_default=True, help="Build ours for one that this machine can run; see `neo targets`."
)
@click.option(
    "--tune", "tune_s", type=click.FloatRange(0), default=0.0, help="Seconds of `neo compile --tune` for every model."
)
@click.option("--plot", "plot_file", type=click.Path(path_type=Path, dir_okay=False), help="Draw a PNG there.")
def main(  # noqa: PLR0917  # one parameter per option
    models: str | None,
    files: tuple[Path, ...],
    threads: str,
    rounds: int,
    seconds: float,
    limit_s: float,
    cache: Path,
    json_file: Path | None,
    target: str,
    tune_s: float,
    plot_file: Path | None,
) -> None:
    """Median latency at batch 1 of every model and engine, and the ratio to the fastest peer.

    Each engine has a process of its own, pinned to as many cores as it has threads; only one of them works at a time.
    Peers use what the processor has, whatever the target is, unless they are told: ONEDNN_MAX_CPU_ISA=AVX2 keeps
    OpenVINO's convolutions and products to that.
    """
    with errors_as_messages():
        host, pace, features = read_host(), Pace(rounds, seconds, limit_s), _features(target)
        names = choose_names(models, tuple(ZOO)) if models or not files else ()
        counts = parse_threads(threads)
        who, run = contenders(features), {**describe_run(host, pace), "target": target, "tune_s": tune_s}
        cases: list[Case] = []
        with tempfile.TemporaryDirectory(prefix="neo-latency-") as scratch:
            own = _named(files)
            for name in (*own, *names):
                progress(f"{name}: making the model, unless it is in {cache}")
                here = Path(scratch) / name
                folder = own_folder(own[name], here) if name in own else model_folder(name, cache.resolve())
                cases += measure_model(name, folder, who, counts, pace, target=target, tune_s=tune_s)
                if json_file:  # after every model: a long run that is stopped is not lost
                    document = {"run": run, "cases": [case.to_json() for case in cases]}
                    json_file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        click.echo("\n\n".join([headline(run), *latency_tables(cases, who)]))
        if plot_file:
            plot_latency(cases, who, plot_file)


if __name__ == "__main__":
    main()

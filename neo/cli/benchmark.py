"""`neo benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neo.cli.bundles import unpacked
from neo.cli.options import json_option, open_store, store_option, threads_option
from neo.cli.output import emit, progress_console
from neo.errors import UsageError

if TYPE_CHECKING:
    from neo.store import Store

EPILOG = (
    "Example: neo benchmark digits:1-host --threads 1 --runs 1000\n\n"
    "Example: neo benchmark digits:1-host --profile       (time per kernel)"
)


@click.command("benchmark", epilog=EPILOG)
@click.argument("reference", metavar="REF")
@click.option("--runs", type=click.IntRange(1, 1_000_000), help="Timed runs. [default: as many as fit into 2 s]")
@click.option("--profile", "as_profile", is_flag=True, help="Time every kernel and compare it with the roofline.")
@threads_option
@store_option
@json_option
def benchmark_command(
    reference: str, runs: int | None, as_profile: bool, threads: int | None, store: Path | None, as_json: bool
) -> None:
    """Measure the bundle REF on this machine, in a process of its own."""
    from neo.runtime.load import available_cores
    from neo.runtime.profiling.profile import MOST_RUNS

    if as_profile and runs is not None and runs > MOST_RUNS:
        raise UsageError(f"--profile takes at most {MOST_RUNS} runs, not {runs}", hint=f"give --runs {MOST_RUNS}")
    run = _profile if as_profile else _measure
    run(open_store(store), reference, threads or available_cores(), runs, as_json)


def _measure(store: Store, reference: str, threads: int, runs: int | None, as_json: bool) -> None:
    from neo.compiler.measure import measure

    with progress_console().status("measuring"), unpacked(store, reference) as (bundle, folder):
        measured = measure(folder, threads, runs=runs, seconds=2.0)
    manifest = bundle.manifest
    result = {"reference": manifest.reference, "engine": manifest.engine, **measured.to_json()}

    def human(console: Any) -> None:
        console.print(f"{manifest.reference} on {manifest.engine}, {measured.threads} threads, {measured.runs} runs")
        console.print(
            f"median {measured.median_ms:.3f} ms, p90 {measured.p90_ms:.3f} ms, p99 {measured.p99_ms:.3f} ms\n"
            f"load {measured.load_ms:.0f} ms, first prediction {measured.first_ms:.1f} ms, "
            f"peak memory {measured.peak_rss_mb:.0f} MB"
        )

    emit(result, as_json, human)


def _profile(store: Store, reference: str, threads: int, runs: int | None, as_json: bool) -> None:
    from neo.cli.profile_table import print_profile
    from neo.compiler.measure import profile

    with progress_console().status("profiling"), unpacked(store, reference) as (bundle, folder):
        measured = profile(folder, threads, runs=runs)
    result = {"reference": bundle.manifest.reference, "engine": bundle.manifest.engine, **measured.to_json()}
    emit(result, as_json, lambda console: print_profile(console, result))

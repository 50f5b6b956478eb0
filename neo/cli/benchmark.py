"""`neo benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from neo.cli.bundles import unpacked
from neo.cli.options import json_option, open_store, store_option, threads_option
from neo.cli.output import emit, progress_console


@click.command("benchmark", epilog="Example: neo benchmark digits:1-host --threads 1 --runs 1000")
@click.argument("reference", metavar="REF")
@click.option("--runs", type=click.IntRange(1, 1_000_000), help="Timed runs. [default: as many as fit into 2 s]")
@threads_option
@store_option
@json_option
def benchmark_command(reference: str, runs: int | None, threads: int | None, store: Path | None, as_json: bool) -> None:
    """Measure the bundle REF on this machine, in a process of its own."""
    from neo.measure import measure
    from neo.runtime.load import available_cores

    with progress_console().status("measuring"), unpacked(open_store(store), reference) as (bundle, folder):
        measured = measure(folder, threads or available_cores(), runs=runs, seconds=2.0)
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

"""``python -m benchmarks.against COMMIT``: this tree beside another commit, in turn: build time, memory, latency."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.engine_process import ROOT
from benchmarks.options import choose_names, describe_run, errors_as_messages, headline, pace_options, parse_threads
from benchmarks.race import Entry, Pace, Timing, race
from benchmarks.results import geometric_mean
from benchmarks.tables import NOTHING, markdown_table, one_line
from benchmarks.zoo import ZOO
from neo.engines import ENGINES
from neo.errors import EngineError, NeoError, UsageError
from neo.runtime.host import read_host

OTHER, THIS = "other", "this"
# models of six kinds: plain, with depthwise convolutions, with gates, a transformer, recurrent, tiny
USUAL = "resnet50,mobilenet_v2,efficientnet_b0,distilbert,lstm,digits"

# runs in either tree, with that tree's code; what it names has been there since the first benchmark
_BUILD = """
import json, resource, sys
from pathlib import Path
from benchmarks.build import build
from benchmarks.zoo import MODEL_FILE, model_folder
from neo.errors import NeoError
name, engine, precision, cache, folder, limit_s = sys.argv[1:]
samples = model_folder(name, Path(cache))
try:
    seconds = build(engine, samples / MODEL_FILE, Path(folder), float(limit_s), precision=precision).seconds
    said = {"seconds": seconds}
except NeoError as error:
    said = {"error": error.message}
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(json.dumps({**said, "samples": str(samples), "peak_rss_mb": peak}))
"""


@dataclass(frozen=True, slots=True)
class Built:
    """One engine as one tree builds it."""

    folder: Path
    #: with the model's golden samples, as that tree writes them
    samples: Path
    #: of rewriting and building
    seconds: float
    #: MiB, of the largest process of the build
    peak_rss_mb: float


@dataclass(frozen=True, slots=True)
class Row:
    model: str
    built: dict[str, Built]
    results: dict[str, Timing | NeoError]

    def ratio(self, what: str) -> float | None:
        """Of the figure in this tree to the other's; what: seconds, build_rss, median_ms, load_ms or peak_rss_mb."""
        pairs = {
            "seconds": [self.built[name].seconds for name in (THIS, OTHER)],
            "build_rss": [self.built[name].peak_rss_mb for name in (THIS, OTHER)],
        }
        timings = [self.results[name] for name in (THIS, OTHER)]
        good = [timing for timing in timings if isinstance(timing, Timing)]
        if what not in pairs and len(good) < len(timings):
            return None
        ours, theirs = pairs.get(what) or [getattr(timing, what) for timing in good]
        return float(ours / theirs)


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """A work tree of the commit, removed afterwards. Raises UsageError if git has no such commit."""
    with tempfile.TemporaryDirectory(prefix="neo-against-") as scratch:
        place = Path(scratch) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        added = subprocess.run([*git, "add", "--detach", str(place), commit], capture_output=True, check=False)
        if added.returncode:
            raise UsageError(f"git cannot check out {commit!r}: {added.stderr.decode(errors='replace').strip()}")
        try:
            yield place
        finally:
            subprocess.run([*git, "remove", "--force", str(place)], capture_output=True, check=False)


def build_in(tree: Path, words: Sequence[str], cache: Path, folder: Path, limit_s: float) -> Built:
    """words: model, engine, precision. Raises EngineError if the tree cannot build it."""
    command = [sys.executable, "-c", _BUILD, *words, str(cache), str(folder), str(limit_s)]
    # its own code first, wherever the installed package comes from; also in the processes that it starts
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, check=False)
    if done.returncode:
        raise EngineError(f"{tree}: {done.stderr.decode(errors='replace').strip()[-500:]}")
    said = json.loads(done.stdout.splitlines()[-1])
    if "error" in said:
        raise EngineError(said["error"])
    return Built(folder, Path(said["samples"]), said["seconds"], said["peak_rss_mb"])


def measure_model(
    words: Sequence[str], trees: dict[str, Path], cache: Path, threads: Sequence[int], pace: Pace, *, builds: int
) -> dict[int, Row]:
    """-> by number of threads. builds: of each tree, in turn; the quickest and the smallest count."""
    with tempfile.TemporaryDirectory(prefix="neo-against-") as scratch:
        tries: dict[str, list[Built]] = {name: [] for name in trees}
        for number in range(builds):
            for name, tree in trees.items():
                folder = Path(scratch) / f"{name}-{number}"
                tries[name].append(build_in(tree, words, cache / name, folder, pace.limit_s))
        built = {
            name: Built(
                those[0].folder,
                those[0].samples,
                min(one.seconds for one in those),
                min(one.peak_rss_mb for one in those),
            )
            for name, those in tries.items()
        }
        entries = {name: Entry("neo", one.folder, one.samples, words[2], trees[name]) for name, one in built.items()}
        return {count: Row(words[0], built, race(entries, count, pace)) for count in threads}


def table(rows: Sequence[Row]) -> str:
    header = ["model", "other ms", "this ms", "latency", "load", "memory", "build time", "build memory", "max rel."]
    figures = ("median_ms", "load_ms", "peak_rss_mb", "seconds", "build_rss")
    lines = []
    for row in rows:
        other, this = (row.results[name] for name in (OTHER, THIS))
        times = [f"{one.median_ms:.3f}" if isinstance(one, Timing) else one_line(one.message) for one in (other, this)]
        parity = f"{this.parity.max_rel:.1e}" if isinstance(this, Timing) else NOTHING
        lines.append([row.model, *times, *(_ratio(row.ratio(figure)) for figure in figures), parity])
    means = [_ratio(geometric_mean(row.ratio(figure) for row in rows)) for figure in figures]
    lines.append(["geometric mean", "", "", *means, ""])
    return (
        markdown_table(header, lines) + "\n\nRatios are this tree's figure over the other commit's: below 1 is better."
    )


def _ratio(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"


@click.command(epilog=f"Example: python -m benchmarks.against f4fc3f9 --models {USUAL}")
@click.argument("commit")
@click.option("--models", default=USUAL, show_default=True, help=f"Some of: {', '.join(ZOO)}.")
@click.option("--engine", default="tvm", show_default=True, type=click.Choice(list(ENGINES)))
@click.option("--precision", default="fp32", show_default=True)
@click.option("--builds", default=2, show_default=True, type=click.IntRange(1), help="Of every tree; the best counts.")
@pace_options(seconds=1.0)
def main(  # noqa: PLR0917  # one parameter per option
    commit: str,
    models: str,
    engine: str,
    precision: str,
    builds: int,
    threads: str,
    rounds: int,
    seconds: float,
    limit_s: float,
    json_file: Path | None,
    cache: Path,
) -> None:
    """Is this tree as fast as COMMIT? Both build every model and run it in turn, each with its own code."""
    with errors_as_messages():
        pace, counts, names = Pace(rounds, seconds, limit_s), parse_threads(threads), choose_names(models, tuple(ZOO))
        run = describe_run(read_host(), pace)
        by_threads: dict[int, list[Row]] = {count: [] for count in counts}
        with checked_out(commit) as other:
            trees = {OTHER: other, THIS: ROOT}
            for name in names:
                click.echo(f"{name}: building and measuring", err=True)
                words = (name, engine, precision)
                for count, row in measure_model(words, trees, cache.resolve(), counts, pace, builds=builds).items():
                    by_threads[count].append(row)
        click.echo(headline(run))
        for count, rows in by_threads.items():
            click.echo(f"\n## {engine} {precision}, {count} thread{'s' if count > 1 else ''}, beside {commit}\n")
            click.echo(table(rows))
        if json_file:
            results = {
                str(count): [
                    {"model": row.model, **{name: one.to_json() for name, one in row.results.items()}} for row in rows
                ]
                for count, rows in by_threads.items()
            }
            json_file.write_text(json.dumps({"run": run, "results": results}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

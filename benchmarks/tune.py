"""``python -m benchmarks.tune``: measure configurations for the kernels of the zoo, and write them for shipping."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import click
import platformdirs

from benchmarks.build import build
from benchmarks.options import choose_names, errors_as_messages, progress
from benchmarks.zoo import MODEL_FILE, ZOO, model_folder
from neo.compiler.search import check_search, export_tuning
from neo.settings import APP
from neo.targets import HOST, load_target

# times as fast: what another machine of the kind is likely to gain from too
LEAST_GAIN = 1.05
EPILOG = "Example: python -m benchmarks.tune --target x86-64-v3 --seconds 120 --out neo/data/tuning/x86-64-v3.json"


@click.command(epilog=EPILOG)
@click.option("--models", help=f"Some of: {', '.join(ZOO)}. [default: all]")
@click.option("--target", default=HOST, show_default=True, help="One that this machine can run; see `neo targets`.")
@click.option("--seconds", default=120.0, show_default=True, type=click.FloatRange(0), help="Of measuring per model.")
@click.option("--limit", "limit_s", default=600.0, show_default=True, help="Seconds for a build besides that.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(platformdirs.user_cache_dir(APP)) / "zoo",
    show_default="the user's cache folder",
    help="Where the models are kept.",
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write kernels that gained 5 % and more.")
def main(  # noqa: PLR0917  # one parameter per option
    models: str | None, target: str, seconds: float, limit_s: float, cache: Path, out: Path | None
) -> None:
    """Build every model with the tvm engine and --tune.

    What is measured is kept in the user's cache, as by `neo compile`; what is known already is not measured again.
    """
    with errors_as_messages():
        check_search(seconds, [load_target(target)], ["tvm"])
        for name in choose_names(models, tuple(ZOO)):
            folder = model_folder(name, cache.resolve())
            progress(f"{name}: measuring for at most {seconds:g} s")
            start = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="neo-tune-") as scratch:
                built = build(
                    "tvm", folder / MODEL_FILE, Path(scratch) / "engine", limit_s, target=target, tune_s=seconds
                )
            click.echo(f"{name}: built in {time.monotonic() - start:.0f} s; {'; '.join(built.notes)}")
        if out is not None:
            kernels = sum(len(document.kernels) for document in export_tuning(out, [target], least_gain=LEAST_GAIN))
            click.echo(f"{kernels} kernels written to {out}")


if __name__ == "__main__":
    main()

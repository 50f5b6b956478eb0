"""What the benchmark programs share on their command lines."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import platformdirs

from benchmarks.race import Pace
from neo.errors import NeoError, UsageError
from neo.runtime.host import Host
from neo.runtime.load import available_cores
from neo.settings import APP
from neo.targets import HOST

_PACKAGES = ("neo-edge", "apache-tvm", "onnxruntime", "openvino")

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def pace_options(seconds: float, *, models: bool = True) -> Decorator:
    """--threads, --rounds, --seconds, --limit, --json, and --cache if the program measures models of the zoo."""
    options = [
        click.option("--threads", default="1", show_default=True, help="Numbers of threads, as in 1,2."),
        click.option("--rounds", default=5, show_default=True, type=click.IntRange(1), help="Turns of every engine."),
        click.option(
            "--seconds", default=seconds, show_default=True, type=click.FloatRange(0), help="Length of a turn."
        ),
        click.option(
            "--limit",
            "limit_s",
            default=300.0,
            show_default=True,
            type=click.FloatRange(0, min_open=True),
            help="Seconds that a build, a load or a turn may take before the engine is out.",
        ),
        click.option(
            "--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write results there."
        ),
    ]
    if models:
        options.append(
            click.option(
                "--cache",
                type=click.Path(path_type=Path, file_okay=False),
                default=Path(platformdirs.user_cache_dir(APP)) / "zoo",
                show_default="the user's cache folder",
                help="Where the models are kept.",
            )
        )

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def parse_threads(text: str) -> tuple[int, ...]:
    """Read "1,2" as (1, 2). Raises UsageError for anything but numbers of cores that this process has."""
    counts, cores = _numbers("--threads", text), available_cores()
    if not all(1 <= count <= cores for count in counts):
        raise UsageError(f"--threads {text}; this process may run on {cores} cores", hint=f"write 1 to {cores}")
    return counts


def parse_numbers(option: str, text: str) -> tuple[int, ...]:
    """Read "1,2" as (1, 2), each once. Raises UsageError for anything but whole numbers from 1 on."""
    numbers = _numbers(option, text)
    if min(numbers) < 1:
        raise UsageError(f"{option} {text}; the numbers are 1 and more", hint=f"write {option} 1,2")
    return numbers


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError as error:
        raise UsageError(f"{option} {text!r} is no list of numbers", hint=f"write {option} 1,2") from error


def choose_names(text: str | None, known: tuple[str, ...]) -> tuple[str, ...]:
    """Read "a,b" as ("a", "b"), None as all. Raises UsageError for an unknown name."""
    names = known if text is None else tuple(dict.fromkeys(text.split(",")))
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"no model {unknown[0]!r} in the zoo", hint=f"the zoo has {', '.join(known)}")
    return names


def describe_run(host: Host, pace: Pace) -> dict[str, Any]:
    """What somebody needs to know to judge the numbers."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    wide = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")
    return {
        "processor": host.model_name,
        "features": [feature for feature in wide if feature in host.features],
        "cores": host.cores,
        "python": sys.version.split()[0],
        "versions": versions,
        "load_average": round(os.getloadavg()[0], 2),
        "rounds": pace.rounds,
        "seconds": pace.seconds,
    }


def headline(run: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    target = f"ours built for {run['target']}; " if run.get("target", HOST) != HOST else ""
    return (
        f"{run['processor']}, {run['cores']} cores ({', '.join(run['features'])}); {target}"
        f"Python {run['python']}, {versions}; "
        f"{run['rounds']} rounds of {run['seconds']:g} s per engine; "
        f"load average before the start {run['load_average']}"
    )


def progress(text: str) -> None:
    click.echo(text, err=True)


@contextmanager
def errors_as_messages() -> Iterator[None]:
    """A NeoError ends the program with its message, its hint and its exit code."""
    try:
        yield
    except NeoError as error:
        click.echo(f"error: {error.message}" + (f"\n{error.hint}" if error.hint else ""), err=True)
        sys.exit(error.exit_code)

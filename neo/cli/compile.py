"""`neo compile`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neo.cli.options import PathArgument, flag, json_option, key_option, open_store, store_option, threads_option
from neo.cli.output import emit, progress_console
from neo.frontends import FRONTENDS

if TYPE_CHECKING:
    from rich.console import Console

    from neo.compiler.result import CompiledBundles


class EngineOption(click.Option):
    """Names the engines only where help is asked for: their table loads numpy."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        from neo.engines import ENGINES

        self.help = f"auto measures all and keeps the fastest; {'; '.join(ENGINES)}."
        return super().get_help_record(ctx)


EXAMPLES = """\b
Examples:
  neo compile resnet.pt2
  neo compile model.keras --target raspberry-pi-4 --target host
  neo compile resnet.pt2 --precision bf16
  neo compile exported/ --signature predict --layout NCHW
  neo compile frozen.pb --outputs probabilities
  neo compile net-symbol.json --input data=float32[1,3,224,224] --name net
  neo compile resnet.pt2 --tune 60
  neo compile resnet.pt2 --preprocess photo.toml --postprocess top5.toml
  neo compile --module models.unet:make --weights best.safetensors --input x=float32[1,3,256,256]
"""


@click.command("compile", epilog=EXAMPLES)
@click.argument("model", required=False, type=PathArgument())
@click.option("--module", metavar="PACKAGE.MODULE:NAME", help="Code that builds the model, a function or class.")
@click.option("--weights", type=PathArgument(), help="With --module: its weights (.safetensors, .pth, .npz).")
@click.option("--target", "targets", multiple=True, default=("host",), show_default=True, help="See `neo targets`.")
@click.option("--engine", cls=EngineOption, default="auto", show_default=True)
@click.option("--name", help="Name of the bundle. [default: from the file name]")
@click.option("--version", help="Version of the bundle. [default: the next whole number]")
@click.option("--replace", is_flag=True, help="Replace a bundle that has this name, version and target already.")
@click.option("--framework", help=f"{', '.join(FRONTENDS)}. [default: recognised from the file]")
@click.option("--input", "inputs", multiple=True, metavar="NAME=DTYPE[DIMS]", help="As in x=float32[1,3,224,224].")
@click.option("--outputs", help="Names of the outputs of a frozen TensorFlow graph, as in scores,boxes.")
@click.option("--signature", help="Which function of a SavedModel. [default: serving_default, or the only one]")
@click.option(
    "--layout",
    "layouts",
    multiple=True,
    metavar="[NAME=]NCHW|NHWC",
    help="Layout of images at the interface: of every input with four dimensions, or of the input or output NAME.",
)
@click.option("--dim", "dims", multiple=True, metavar="NAME=SIZE", help="Fix a named dynamic dimension, as in N=1.")
@click.option(
    "--golden",
    type=PathArgument(exists=True, dir_okay=False),
    help="An .npz with your own sample: one array per input and output name.",
)
@click.option(
    "--preprocess",
    type=PathArgument(dir_okay=False),
    help="A .toml with steps from a raw image to the model's input; they become part of the model.",
)
@click.option(
    "--postprocess",
    type=PathArgument(dir_okay=False),
    help="A .toml with steps from the model's outputs to answers: softmax, top-k, labels, boxes.",
)
@click.option(
    "--precision",
    default="fp32",
    show_default=True,
    help="fp32; bf16 (convolutions and products, where the target has it); auto takes bf16 if --tolerance holds.",
)
@click.option(
    "--tolerance", type=click.FloatRange(0, 1), help="Largest relative error allowed. [default: 0.001; bf16: 0.05]"
)
@click.option("--trust-pickle", is_flag=True, help="Read formats that can run code from the file. Only your own files.")
@click.option("--no-sign", is_flag=True, help="Leave the bundle unsigned; agents refuse it until `neo keys sign`.")
@click.option(
    "--tune",
    "tune_s",
    type=click.FloatRange(0),
    default=0.0,
    metavar="SECONDS",
    help="Measure configurations of kernels for so long, and keep them for later. See `neo tune`.",
)
@click.option(
    "--cache/--no-cache",
    "cache",
    default=True,
    help="If all is as it was in an earlier compile, take its bundle from the store. [default: --cache]",
)
@click.option(
    "--debug-folder",
    type=PathArgument(file_okay=False),
    help="Gets the graph after every step, 00-converted.onnx and so on. [default: with --debug, a new one in TMPDIR]",
)
@threads_option
@key_option
@store_option
@json_option
def compile_command(store: Path | None, key: Path | None, no_sign: bool, as_json: bool, **options: Any) -> None:
    """Compile MODEL, a trained model's file or folder, or what --module builds, into one signed bundle per target."""
    from neo.compiler.arguments import read_fields
    from neo.compiler.pipeline import run
    from neo.compiler.request import CompileRequest
    from neo.settings import key_path
    from neo.trust.keys import operator_signer

    options["debug_folder"] = options["debug_folder"] or _debug_folder()
    given = read_fields(options, flag)
    opened = open_store(store, create=True)
    request = CompileRequest(store=opened, signer=None if no_sign else operator_signer(key, key_path()), **given)
    try:
        with progress_console().status("starting") as status:
            bundles = run(request, status.update)
    finally:  # after an error most of all
        _tell_graphs(request.debug_folder)
    emit({"bundles": [b.to_json() for b in bundles]}, as_json, lambda console: _show(console, bundles))


def _debug_folder() -> Path | None:
    """A new one, with --debug."""
    if not click.get_current_context().find_root().params.get("debug"):
        return None
    from neo.durable import translating_os_errors

    with translating_os_errors(Path(tempfile.gettempdir())):
        return Path(tempfile.mkdtemp(prefix="neo-debug-"))


def _tell_graphs(folder: Path | None) -> None:
    try:
        if folder is None or not folder.is_dir():
            return
    except OSError:  # a name too long, say: that has been told
        return
    if any(folder.glob("*.onnx")):
        click.echo(f"the graph after every step: {folder}", err=True)
    elif not any(folder.iterdir()):  # it failed before the first
        folder.rmdir()


def _show(console: Console, bundles: CompiledBundles) -> None:
    from rich.markup import escape
    from rich.table import Table

    from neo.compiler.result import COLUMNS

    for compiled in bundles:
        reference, rest = compiled.title.split(" ", 1)
        console.print(f"[bold]{escape(reference)}[/bold] {escape(rest)}")
        table = Table(box=None, pad_edge=False)
        for column in COLUMNS:
            table.add_column(column, justify="left" if column == "engine" else "right")
        for row in compiled.rows():
            table.add_row(*row)
        console.print(table)
        for note in compiled.notes:
            console.print(f"  {note}", markup=False)
        if compiled.cached:
            console.print("cached: all is as it was when this bundle was made; --no-cache compiles it again")
        console.print(f"next: neo push {compiled.reference} --to DEVICE", markup=False)

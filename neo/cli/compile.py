"""`neo compile`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from neo.cli.options import PathArgument, json_option, key_option, open_store, store_option, threads_option
from neo.cli.output import emit, progress_console
from neo.frontends import FRONTENDS

if TYPE_CHECKING:
    from rich.console import Console

    from neo.compiler.pipeline import CompiledBundle
    from neo.contract.tensors import TensorSpec

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
@click.option(
    "--engine", default="auto", show_default=True, help="auto measures all and keeps the fastest; onnxruntime; tvm."
)
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
@threads_option
@key_option
@store_option
@json_option
def compile_command(  # one parameter per option
    model: Path | None,
    module: str | None,
    weights: Path | None,
    targets: tuple[str, ...],
    engine: str,
    name: str | None,
    version: str | None,
    replace: bool,
    framework: str | None,
    inputs: tuple[str, ...],
    outputs: str | None,
    signature: str | None,
    layouts: tuple[str, ...],
    dims: tuple[str, ...],
    golden: Path | None,
    preprocess: Path | None,
    postprocess: Path | None,
    precision: str,
    tolerance: float | None,
    trust_pickle: bool,
    no_sign: bool,
    tune_s: float,
    threads: int | None,
    key: Path | None,
    store: Path | None,
    as_json: bool,
) -> None:
    """Compile MODEL, a trained model's file or folder, or what --module builds, into one signed bundle per target."""
    from neo.compiler.pipeline import run
    from neo.compiler.request import CompileRequest
    from neo.contract.parity import Tolerance
    from neo.contract.precision import FP32
    from neo.settings import key_path
    from neo.trust.keys import operator_signer

    request = CompileRequest(
        model=model,
        module=module,
        weights=weights,
        store=open_store(store, create=True),
        signer=None if no_sign else operator_signer(key, key_path()),
        targets=tuple(dict.fromkeys(targets)),
        engine=engine,
        name=name,
        version=version,
        replace=replace,
        framework=framework,
        inputs=tuple(parse_input(text) for text in inputs),
        dims=dict(parse_dim(text) for text in dims),
        signature=signature,
        layouts=dict(_layout(text) for text in layouts),
        outputs=parse_outputs(outputs),
        golden=golden,
        preprocess=preprocess,
        postprocess=postprocess,
        trust_pickle=trust_pickle,
        threads=threads,
        tolerance=None if tolerance is None else Tolerance(FP32.tolerance.max_abs, tolerance),
        precision=precision,
        tune_s=tune_s,
    )
    with progress_console().status("starting") as status:
        bundles = run(request, status.update)
    emit({"bundles": [b.to_json() for b in bundles]}, as_json, lambda console: _show(console, bundles))


def parse_input(text: str) -> TensorSpec:
    from neo.contract.fields import ContractError
    from neo.contract.tensors import TensorSpec
    from neo.errors import InputSpecError

    try:
        return TensorSpec.parse(text)
    except ContractError as error:
        raise InputSpecError(f"--input {error.message}", hint=error.hint) from error


def parse_outputs(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def parse_dim(text: str) -> tuple[str, int]:
    from neo.errors import InputSpecError

    name, _, size = text.partition("=")
    if not name or not size.isdecimal() or int(size) < 1:
        raise InputSpecError(f"--dim {text!r} is no size of a dimension", hint="write NAME=SIZE, as in N=1")
    return name, int(size)


def _layout(text: str) -> tuple[str, str]:
    from neo.errors import UsageError
    from neo.graph.layout import EVERY_INPUT, LAYOUTS

    name, _, layout = text.rpartition("=")
    if layout not in LAYOUTS:
        raise UsageError(
            f"--layout {text!r} is no layout", hint="write NCHW or NHWC, or NAME=NCHW for one input or output"
        )
    return name or EVERY_INPUT, layout


def _show(console: Console, bundles: tuple[CompiledBundle, ...]) -> None:
    from rich.table import Table

    for compiled in bundles:
        row = compiled.to_json()
        console.print(f"[bold]{row['reference']}[/bold]  {row['digest'][:19]}  {row['size_bytes'] / 1e6:.1f} MB")
        table = Table(box=None, pad_edge=False)
        for column in ("engine", "median", "p90", "load", "peak memory", "largest error"):
            table.add_column(column, justify="left" if column == "engine" else "right")
        for candidate in compiled.candidates:
            is_chosen = (candidate.engine, candidate.precision) == (row["engine"], row["precision"])
            mark = " (chosen)" if is_chosen else ""
            m = candidate.measurement
            cells = ["-"] * 5
            if m is not None:
                cells = [
                    f"{m.median_ms:.3f} ms",
                    f"{m.p90_ms:.3f} ms",
                    f"{m.load_ms:.0f} ms",
                    f"{m.peak_rss_mb:.0f} MB",
                ]
                cells.append(f"{m.parity.max_rel:.1e}")
            table.add_row(candidate.label + mark, *cells)
        console.print(table)
        for note in compiled.notes:
            console.print(f"  {note}", markup=False)
        console.print(f"next: neo push {row['reference']} --to DEVICE", markup=False)

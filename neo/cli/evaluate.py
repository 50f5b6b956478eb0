"""`neo evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neo.cli.bundles import unpacked
from neo.cli.options import PathArgument, flag, json_option, open_store, store_option, threads_option
from neo.cli.output import emit, progress_console

if TYPE_CHECKING:
    from collections.abc import Callable

    from neo.evaluation.run import Evaluation
    from neo.frontends.base import ConversionRequest

EXAMPLES = """\b
Examples:
  neo evaluate digits --data digits.npz --metric accuracy --metric f1
  neo evaluate digits --data digits.npz --source digits.pt2 --picture confusion.png
"""


@click.command("evaluate", epilog=EXAMPLES)
@click.argument("reference", metavar="REF")
@click.option(
    "--data",
    required=True,
    type=PathArgument(),
    help="An .npz with one array per input, samples first, and the true answers.",
)
@click.option("--labels", help="The array with the true answers. [default: labels or y]")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    help="accuracy, top5, f1, auc, rmse, mae, r2 or confusion; may be repeated. [default: accuracy for whole labels,"
    " else rmse]",
)
@click.option("--output", help="The output that is judged. [default: the first]")
@click.option("--picture", type=PathArgument(dir_okay=False), help="Draw the confusion matrix: .png.")
@click.option("--source", type=PathArgument(), help="The model it was made from, judged beside it.")
@click.option("--module", metavar="PACKAGE.MODULE:NAME", help="Instead of --source: code that builds it.")
@click.option("--weights", type=PathArgument(), help="With --module: its weights.")
@click.option("--framework", help="Of --source. [default: recognised from the file]")
@click.option("--input", "inputs", multiple=True, metavar="NAME=DTYPE[DIMS]", help="Of --source, as in neo compile.")
@click.option("--dim", "dims", multiple=True, metavar="NAME=SIZE", help="Of --source, as in neo compile.")
@click.option("--signature", help="Of --source, as in neo compile.")
@click.option("--outputs", help="Of --source, as in neo compile.")
@click.option("--preprocess", type=PathArgument(dir_okay=False), help="Of --source, as the bundle was compiled.")
@click.option("--postprocess", type=PathArgument(dir_okay=False), help="Of --source, as the bundle was compiled.")
@click.option("--trust-pickle", is_flag=True, help="Read formats that can run code from --source. Only your own files.")
@threads_option
@store_option
@json_option
def evaluate_command(
    reference: str,
    data: Path,
    labels: str | None,
    metrics: tuple[str, ...],
    output: str | None,
    picture: Path | None,
    source: Path | None,
    module: str | None,
    weights: Path | None,
    framework: str | None,
    inputs: tuple[str, ...],
    dims: tuple[str, ...],
    signature: str | None,
    outputs: str | None,
    preprocess: Path | None,
    postprocess: Path | None,
    trust_pickle: bool,
    threads: int | None,
    store: Path | None,
    as_json: bool,
) -> None:
    """Judge the bundle REF by data with known answers, and the model it was made from beside it."""
    from neo.compiler.arguments import read_names, read_sizes, read_specs, read_text
    from neo.evaluation.answers import DataRequest
    from neo.evaluation.run import EvaluationRequest, evaluate
    from neo.frontends.base import ConversionRequest
    from neo.frontends.sources import find_source
    from neo.processing.documents import read_processing

    opener: Callable[[Path], ConversionRequest] | None = None
    if source is not None or module is not None:
        named = read_text(framework, "--framework")
        function = read_text(signature, "--signature")
        found = find_source(source, module, weights, named, trust_pickle=trust_pickle)
        specs, sizes = read_specs(inputs, flag("inputs")), read_sizes(dims, flag("dims"))
        processing = read_processing(preprocess, postprocess)

        def opener(scratch: Path) -> ConversionRequest:
            return ConversionRequest(
                source=found.path,
                framework=found.framework,
                scratch=scratch,
                inputs=specs,
                dims=sizes,
                signature=function,
                outputs=read_names(outputs, "--outputs"),
                trust_pickle=trust_pickle,
                processing=processing,
                factory=found.factory,
            )

    with (
        progress_console().status("evaluating") as status,
        unpacked(open_store(store), reference) as (bundle, folder),
    ):
        request = EvaluationRequest(
            folder, bundle.manifest, DataRequest(data, labels), metrics, output, threads, opener, picture
        )
        evaluation = evaluate(request, status.update)
    result = {**evaluation.to_json(), "picture": None if picture is None else str(picture)}
    emit(result, as_json, lambda console: _show(console, evaluation, picture))


def _show(console: Any, evaluation: Evaluation, picture: Path | None) -> None:
    from rich.table import Table

    columns = [("bundle", evaluation.bundle)]
    if evaluation.source is not None:
        columns.append(("source", evaluation.source))
    console.print(
        f"{evaluation.reference} on {evaluation.samples} samples, by output {evaluation.output}", markup=False
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for title, judged in columns:
        table.add_column(f"{title}: {judged.by}", justify="right")
    for name in evaluation.bundle.metrics:
        table.add_row(name, *(f"{judged.metrics[name]:.4f}" for _, judged in columns))
    table.add_row("median per sample", *(f"{judged.median_ms:.3f} ms" for _, judged in columns))
    table.add_row("p90 per sample", *(f"{judged.p90_ms:.3f} ms" for _, judged in columns))
    console.print(table)
    if evaluation.agreement is not None:
        console.print(f"same class predicted for {evaluation.agreement:.2%} of the samples")
    if evaluation.bundle.confusion is not None and picture is None:
        _show_confusion(console, evaluation.classes, evaluation.bundle.confusion.tolist())
    if picture is not None:
        console.print(f"confusion matrix written to {picture}", markup=False)


def _show_confusion(console: Any, classes: tuple[str, ...], counts: list[list[int]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, title="true class down, predicted class across", title_justify="left")
    table.add_column("")
    for name in classes:
        table.add_column(name, justify="right")
    for name, row in zip(classes, counts, strict=True):
        table.add_row(name, *map(str, row))
    console.print(table)

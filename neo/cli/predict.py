"""`neo predict`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neo.cli.bundles import unpacked
from neo.cli.options import PathArgument, json_option, open_store, store_option, threads_option
from neo.cli.output import emit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@click.command("predict", epilog="Example: neo predict digits:1-host --input x.npz --output y.npz")
@click.argument("reference", metavar="REF")
@click.option(
    "--input",
    "source",
    required=True,
    type=PathArgument(),
    help="An .npz with one array per input, or an .npy for a model with one.",
)
@click.option("--output", type=PathArgument(), help="Where to write an .npz with one array per output.")
@threads_option
@store_option
@json_option
def predict_command(
    reference: str, source: Path, output: Path | None, threads: int | None, store: Path | None, as_json: bool
) -> None:
    """Run the bundle REF on this machine, with the code that runs on devices."""
    from neo.contract.labels import labels_by_value
    from neo.contract.strings import dtype_name
    from neo.runtime import load
    from neo.runtime.arrays import read_arrays

    inputs = read_arrays(source, "make one with numpy.savez('x.npz', NAME=array), or numpy.save('x.npy', array)")
    with unpacked(open_store(store), reference) as (bundle, folder), closing(load(folder, threads)) as predictor:
        outputs = predictor.predict(inputs)
    if output is not None:
        _write(output, outputs)
    shapes: dict[str, dict[str, Any]] = {
        name: {"dtype": dtype_name(array), "shape": list(array.shape)} for name, array in outputs.items()
    }
    labels = labels_by_value(bundle.manifest.labels)
    for name in shapes.keys() & labels.keys():
        shapes[name]["labels"] = labels[name].of(outputs[name])
    result: dict[str, Any] = {
        "reference": bundle.manifest.reference,
        "output": None if output is None else str(output),
        "outputs": shapes if output is not None else {n: {**shapes[n], "data": a.tolist()} for n, a in outputs.items()},
    }

    def human(console: Any) -> None:
        for name, array in outputs.items():
            console.print(f"{name}: {dtype_name(array)} {list(array.shape)}", markup=False)
            if output is None:
                console.print(str(array), markup=False)
            if name in labels:
                console.print(", ".join(str(text) for text in labels[name].of(array)), markup=False)
        if output is not None:
            console.print(f"written to {output}", markup=False)

    emit(result, as_json, human)


def _write(path: Path, outputs: dict[str, NDArray[Any]]) -> None:
    import io

    import numpy as np

    from neo.contract.strings import STRING, dtype_name
    from neo.durable import replace_file

    buffer = io.BytesIO()
    # numpy's own arrays of text, as a person would store them
    plain = {n: a.astype(str) if dtype_name(a) == STRING else a for n, a in outputs.items()}
    np.savez(buffer, **plain)  # type: ignore[arg-type]  # the stub takes one array only
    replace_file(path, buffer.getvalue())

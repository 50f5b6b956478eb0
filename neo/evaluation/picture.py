"""Confusion matrices as a picture: one for each model, side by side."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo.durable import replace_file, translating_os_errors
from neo.errors import MissingDependency, UsageError

FORMATS = ("png", "svg", "pdf")
MAX_CLASSES = 400
# beyond these there is no room for the texts
_COUNTS_UP_TO = 20
_NAMES_UP_TO = 60


def check_picture(path: Path) -> None:
    """Before any work is done. Raises UsageError for another format, MissingDependency without matplotlib."""
    if path.suffix.lower().lstrip(".") not in FORMATS:
        raise UsageError(f"--picture {path} is no {', '.join(FORMATS)} file", hint="name it confusion.png")
    try:
        import matplotlib  # noqa: F401, ICN001
    except ImportError as error:
        raise MissingDependency(
            "the picture is drawn by matplotlib, which is not installed", hint="pip install 'neo-edge[evaluate]'"
        ) from error


def draw_confusion(path: Path, matrices: Mapping[str, NDArray[np.int64]], names: Sequence[str]) -> None:
    """matrices: by the model's name, rows the true classes. names: of the classes. Raises UsageError for too many."""
    from matplotlib.figure import Figure

    count = len(names)
    if count > MAX_CLASSES:
        raise UsageError(f"a picture of {count} classes; at most {MAX_CLASSES} are drawn", hint="use --json")
    side = min(max(3.0, 0.42 * count + 1.5), 14.0)
    figure = Figure(figsize=(side * len(matrices) + 1.0, side + 0.6), layout="constrained")
    for index, (title, matrix) in enumerate(matrices.items(), 1):
        axes = figure.add_subplot(1, len(matrices), index)
        shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        shown = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
        axes.set(title=title, xlabel="predicted", ylabel="true")
        if count <= _NAMES_UP_TO:
            axes.set_xticks(range(count), names, rotation=90)
            axes.set_yticks(range(count), names)
        if count <= _COUNTS_UP_TO:
            _write_counts(axes, matrix, shares)
        if index == len(matrices):
            figure.colorbar(shown, ax=axes, shrink=0.8, label="share of the true class")
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix.lower().lstrip("."), dpi=120)
    with translating_os_errors(path):
        replace_file(path, buffer.getvalue())


def _write_counts(axes: Any, matrix: NDArray[np.int64], shares: NDArray[Any]) -> None:
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)

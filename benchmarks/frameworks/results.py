"""A row of docs/frameworks.md: to and from JSON, and as text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

from benchmarks.tables import markdown_table, one_line

CONVERTED, FAILED, SKIPPED = "converted", "failed", "skipped"
_NOTHING = "-"
# a random network's answers may have much in common; with less of their own, a wrong conversion could agree
LEAST_SPREAD = 0.1
LEAST_INPUTS = 3
_METHOD = """\
Every model is made by its framework with random or freshly fitted weights, converted in a confined process as
`neo compile` does it, and rewritten as for every engine; then it is asked the same inputs as the source framework.
Networks are asked noise and, by their makers before they are saved, pictures, words or series of numbers, under weights
that keep the size of what flows through; classical models are asked all rows of the data set that they were fitted to.

- *inputs*: how many were asked.
- *max abs*, *max rel*: the largest difference, and the same as a part of the output's largest value.
- *top-1*: whether the largest score of every row stands in the same place, and every label is the same.
- *spread*: how much of the answers depends on the input: the root mean square of their difference from their mean over
  the inputs, as a part of that of the answers; the least of all outputs. Near 0, agreement would prove nothing.
- *seconds*: by the clock, of the conversion with loading the framework and asking it, whatever else the machine did.
- *nodes*: of the converted graph and of the rewritten one."""
_LIMITS = (
    "max rel at most 1e-4 (float16: 1e-2; TensorFlow Lite with 8-bit numbers: 0.05), top-1 equal, spread at least"
    f" {LEAST_SPREAD}, {LEAST_INPUTS} inputs or more"
)
_REFUSED = """\
What is refused on purpose, and which operators are missing, stands in [mxnet.md](mxnet.md),
[tensorflow.md](tensorflow.md), [onnx.md](onnx.md) and [frameworks-notes.md](frameworks-notes.md)."""
_TITLES = {"mxnet": "MXNet", "keras": "Keras", "tensorflow": "TensorFlow", "pytorch": "PyTorch", "onnx": "ONNX"}
_TITLES |= {"transformers": "Transformers", "chainer": "Chainer"}
_COLUMNS = 120


@dataclass(frozen=True, slots=True)
class Row:
    """inputs: how many were asked. max_abs, max_rel: the rewritten graph's answers against the source framework's, the
    worst of all; max_rel is relative to the largest value of an output, and limit is how much it may be. top1: whether
    the largest of every row of scores stands in the same place, None where the answers are no rows of scores. spread:
    how much of the answers depends on the input, see ``agreement.spread``. seconds: of the conversion, parity included.
    nodes: of the converted graph, and of the same after our rewrites.
    """

    key: str
    model: str
    framework: str
    format: str
    status: str
    reason: str = ""
    reference: str = ""
    inputs: int = 0
    max_abs: float | None = None
    max_rel: float | None = None
    limit: float = 1e-4
    top1: bool | None = None
    spread: float | None = None
    seconds: float | None = None
    nodes: tuple[int, int] | None = None

    @property
    def good(self) -> bool:
        close = self.max_rel is not None and self.max_rel <= self.limit
        return self.status == CONVERTED and close and self.top1 is not False and self.telling

    @property
    def telling(self) -> bool:
        """Whether the answers depend on the input, so that agreement means something."""
        return self.spread is not None and self.spread >= LEAST_SPREAD and self.inputs >= LEAST_INPUTS

    def to_line(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_line(cls, line: str) -> Row:
        obj: dict[str, Any] = json.loads(line)
        nodes = obj.pop("nodes")
        return cls(**obj, nodes=None if nodes is None else (nodes[0], nodes[1]))


def read_rows(path: Path) -> dict[str, Row]:
    """The last row of every key; {} if there is no file."""
    if not path.is_file():
        return {}
    rows = (Row.from_line(line) for line in path.read_text(encoding="utf-8").splitlines() if line)
    return {row.key: row for row in rows}


def document(rows: Sequence[Row], versions: Mapping[str, str], command: str) -> str:
    """docs/frameworks.md."""
    good = sum(row.good for row in rows)
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    parts = [
        "# Frameworks: what was converted, and how true it stayed",
        fill(
            f"Written by `{command}` with {listed}. Do not edit it: run the program again.",
            _COLUMNS,
            break_on_hyphens=False,
        ),
        _METHOD,
        fill(
            f"{good} of {len(rows)} conversions agree with their source: {_LIMITS}.", _COLUMNS, break_on_hyphens=False
        ),
        *_sections(rows),
        _REFUSED,
    ]
    return "\n\n".join(parts) + "\n"


def _sections(rows: Sequence[Row]) -> Iterator[str]:
    for framework in dict.fromkeys(row.framework for row in rows):
        these = [row for row in rows if row.framework == framework and row.status == CONVERTED]
        if these:
            answered = ", ".join(dict.fromkeys(row.reference for row in these))
            yield f"## {_TITLES.get(framework, framework)}\n\nCompared with {answered}.\n\n{table(these)}"
    for status, title in ((FAILED, "What does not convert, and why"), (SKIPPED, "Not tried here")):
        these = [row for row in rows if row.status == status]
        if these:
            listed = "\n".join(f"- {row.framework}, {row.model}, {row.format}: {one_line(row.reason)}" for row in these)
            yield f"## {title}\n\n{listed}"
    far = [row for row in rows if row.status == CONVERTED and not row.good]
    if far:
        listed = "\n".join(f"- {row.framework}, {row.model}, {row.format}: {_why(row)}" for row in far)
        yield f"## Converted, but not within the limit\n\n{listed}"


def _why(row: Row) -> str:
    if row.top1 is False:
        return "top-1 differs"
    if not row.telling:
        return f"the answers prove little: spread {_part(row.spread)} over {row.inputs} inputs"
    return f"max rel {_small(row.max_rel)}, allowed {row.limit:g}"


def table(rows: Sequence[Row]) -> str:
    header = ["model", "format", "inputs", "max abs", "max rel", "top-1", "spread", "seconds", "nodes"]
    return markdown_table(
        header,
        [
            [
                row.model,
                row.format,
                str(row.inputs),
                _small(row.max_abs),
                _small(row.max_rel),
                {True: "equal", False: "DIFFERS", None: _NOTHING}[row.top1],
                _part(row.spread),
                _NOTHING if row.seconds is None else f"{row.seconds:.1f}",
                _NOTHING if row.nodes is None else f"{row.nodes[0]} to {row.nodes[1]}",
            ]
            for row in rows
        ],
    )


def _small(value: float | None) -> str:
    return _NOTHING if value is None else "0" if value == 0 else f"{value:.1e}"


def _part(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.2f}"

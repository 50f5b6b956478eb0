"""What the frontends of classical models share: one table of numbers in; labels, probabilities or predictions out.

The tensor contract has no strings: a classifier whose classes are strings answers with their positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from neo.contract.tensors import Dim, TensorSpec
from neo.frontends.base import Arrays, ConversionRequest, SourceModel
from neo.frontends.onnx_file import interface
from neo.frontends.samples import drawn_by
from neo.frontends.shapes import fix_inputs

INPUT = "x"
# what onnxmltools 1.16 writes at most, and what ONNX Runtime has had for years
OPSETS = {"": 15, "ai.onnx.ml": 3}
# before the converter's names, so that it takes none of ours
_PREFIX = "converted_"
_MAX_CLASSES_SHOWN = 32


@dataclass(frozen=True, slots=True)
class Column:
    """The values of one column lie between low and high, or are choices."""

    low: float = -3.0
    high: float = 3.0
    choices: tuple[float, ...] = ()

    def draw(self, rng: np.random.Generator, rows: int) -> NDArray[Any]:
        if self.choices:
            return np.asarray(rng.choice(np.array(self.choices), rows))
        return rng.uniform(self.low, self.high, rows)


def around(thresholds: Iterable[tuple[int, float]], features: int) -> tuple[Column, ...]:
    """Columns whose values fall on both sides of all thresholds, given as (column, threshold)."""
    found: dict[int, list[float]] = {}
    for column, threshold in thresholds:
        found.setdefault(column, []).append(threshold)
    return tuple(_around(found[column]) if column in found else Column() for column in range(features))


def _around(thresholds: list[float]) -> Column:
    low, high = min(thresholds), max(thresholds)
    margin = (high - low) / 4 or max(abs(low) / 4, 1.0)
    return Column(low - margin, high + margin)


@dataclass(frozen=True, slots=True)
class Answer:
    """One output. converted: its name in what the converter wrote. name: for the user. dtype: "int64" or "float32".
    columns: 0 for one number per row. only_column: of the converter's table, the one that counts.
    """

    converted: str
    name: str
    dtype: str
    columns: int
    only_column: int | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A classical model. framework: with its version. features: how many columns. answers: the outputs to keep.
    classes: of a classifier. columns: what the model knows about the values of each. run: float32 (N, features) to
    one array per answer.
    """

    framework: str
    features: int
    answers: tuple[Answer, ...]
    classes: tuple[Any, ...]
    columns: tuple[Column, ...]
    run: Callable[[Any], Sequence[Any]]
    notes: tuple[str, ...] = ()


def table_source(table: Table, converted: onnx.ModelProto, request: ConversionRequest) -> SourceModel:
    """Raises InputSpecError for an --input that is not the table."""
    spec = TensorSpec(INPUT, "float32", ("N", table.features))
    inputs = fix_inputs((spec,), request.inputs, request.dims)
    path = request.scratch / "model.onnx"
    _write(table, converted, inputs[0], path)
    _inputs, outputs = interface(path)
    strings = any(isinstance(name, str) for name in table.classes)

    def run(arrays: Arrays) -> Arrays:
        found = table.run(arrays[INPUT])
        answers = dict(zip((answer.name for answer in table.answers), map(np.asarray, found), strict=True))
        if strings:
            answers["label"] = _positions(answers["label"], table.classes)
        return {answer.name: _fitting(answers[answer.name], answer) for answer in table.answers}

    def draw(rng: np.random.Generator) -> Arrays:
        rows = inputs[0].shape[0]
        drawn = [column.draw(rng, rows if isinstance(rows, int) else 1) for column in table.columns]
        return {INPUT: np.stack(drawn, axis=1).astype(np.float32)}

    notes = (*table.notes, *_class_notes(table.classes))
    return SourceModel(path, table.framework, inputs, outputs, run, notes=notes, draw=drawn_by(draw))


def _fitting(array: Any, answer: Answer) -> Any:
    rows = array.shape[0]
    return array.reshape((rows, answer.columns) if answer.columns else (rows,)).astype(answer.dtype)


def _positions(labels: Any, classes: Sequence[Any]) -> Any:
    positions = {name: position for position, name in enumerate(classes)}
    return np.array([positions[str(label)] for label in labels], np.int64)


def _class_notes(classes: tuple[Any, ...]) -> tuple[str, ...]:
    if not classes or classes == tuple(range(len(classes))):
        return ()
    shown = ", ".join(map(str, classes[:_MAX_CLASSES_SHOWN])) + (", ..." if len(classes) > _MAX_CLASSES_SHOWN else "")
    if isinstance(classes[0], str):
        return (f"label is the position among the classes: {shown}",)
    return (f"the columns of probabilities or scores are the classes: {shown}",)


def _write(table: Table, converted: onnx.ModelProto, spec: TensorSpec, path: Path) -> None:
    """Names and shapes the interface as spec and table.answers say; strings become positions."""
    model = onnx.compose.add_prefix(converted, _PREFIX, rename_inputs=False)
    # each converter names the domains that it used itself, and some an older version than it meant
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in OPSETS.items())
    graph = model.graph
    # the converters state some shapes wrongly, and ONNX's inference knows too little of ai.onnx.ml to work them out
    for values in (graph.input, graph.output, graph.value_info):
        del values[:]
    graph.input.append(helper.make_tensor_value_info(INPUT, onnx.TensorProto.FLOAT, spec.shape))
    for answer in table.answers:
        _add_output(graph, answer, table.classes, spec.shape[0])
    onnx.save_model(model, path)


def _add_output(graph: onnx.GraphProto, answer: Answer, classes: Sequence[Any], rows: Dim) -> None:
    name, prefix = _PREFIX + answer.converted, f"answer_{answer.name}"

    def add(operator: str, inputs: list[str], step: str, **attributes: Any) -> str:
        output = f"{prefix}_{step}"
        graph.node.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    if answer.name == "label" and classes and isinstance(classes[0], str):
        positions = list(range(len(classes)))
        name = add(
            "LabelEncoder", [name], "position", domain="ai.onnx.ml", keys_strings=list(classes), values_int64s=positions
        )
    if answer.only_column is not None:
        graph.initializer.append(
            helper.make_tensor(f"{prefix}_index", onnx.TensorProto.INT64, [], [answer.only_column])
        )
        name = add("Gather", [name, f"{prefix}_index"], "column", axis=1)
    shape = [-1, answer.columns] if answer.columns else [-1]
    graph.initializer.append(helper.make_tensor(f"{prefix}_shape", onnx.TensorProto.INT64, [len(shape)], shape))
    name = add("Reshape", [name, f"{prefix}_shape"], "shaped")
    dtype = onnx.TensorProto.INT64 if answer.dtype == "int64" else onnx.TensorProto.FLOAT
    graph.node.append(helper.make_node("Cast", [name], [answer.name], name=f"{prefix}_cast", to=dtype))
    dims: list[str | int] = [rows, answer.columns] if answer.columns else [rows]
    graph.output.append(helper.make_tensor_value_info(answer.name, dtype, dims))

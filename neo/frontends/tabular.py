"""What the frontends of classical models share: a table in; labels, probabilities or predictions out.

A table of numbers is one input, float32 (N, columns). If it has strings, every column that is read is an input of its
own, (N, 1), float32 or string, because one tensor cannot have both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from neo.contract.labels import BY_POSITION, OutputLabels
from neo.contract.strings import numpy_dtype
from neo.contract.tensors import Dim, TensorSpec
from neo.frontends.base import Arrays, ConversionRequest, SourceModel
from neo.frontends.onnx_file import interface
from neo.frontends.samples import drawn_by
from neo.frontends.shapes import fix_inputs
from neo.frontends.table_columns import Column, drawn_rows
from neo.frontends.table_samples import special_rows
from neo.onnx_tools.files import save

INPUT = "x"
# names of columns for the converter, which does not support all names that a data frame may have
COLUMN = "column_{}"
# the newest that onnxmltools 1.16 writes; ONNX Runtime has supported them for years
OPSETS = {"": 15, "ai.onnx.ml": 3}
# ONNX Runtime's own, for text
_MORE_OPSETS = {"com.microsoft": 1}
# every present Linux has this locale; ONNX Runtime's default, en_US.UTF-8, has to be installed
_LOCALE = "C.UTF-8"
# in front of the converter's names, so that they differ from ours
_PREFIX = "converted_"
_MAX_CLASSES_SHOWN = 32


@dataclass(frozen=True, slots=True)
class Answer:
    """One output of a classical model."""

    #: its name in the converter's model
    converted: str
    #: its name in the compiled model
    name: str
    #: "int64", "float32" or "string"
    dtype: str
    #: 0: one value for each row, without a dimension for columns
    columns: int
    #: the only one to keep of the converter's columns; None: all
    only_column: int | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A classical model."""

    #: with its version
    framework: str
    #: number of columns
    features: int
    #: the outputs to keep
    answers: tuple[Answer, ...]
    #: of a classifier
    classes: tuple[Any, ...]
    #: the values of each column, as far as the model tells
    columns: tuple[Column, ...]
    #: (N, features), float32 or, with strings, object -> one array for each answer
    run: Callable[[Any], Sequence[Any]]
    notes: tuple[str, ...] = ()
    #: of the inputs, one for each column; None for a column that the model does not read. (): there is one input x
    names: tuple[str | None, ...] = ()

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        if not self.names:
            return (TensorSpec(INPUT, "float32", ("N", self.features)),)
        named = zip(self.names, self.columns, strict=True)
        return tuple(TensorSpec(name, column.dtype, ("N", 1)) for name, column in named if name is not None)

    def rows(self, arrays: Arrays) -> NDArray[Any]:
        """Inputs by name -> the argument of run."""
        if not self.names:
            return arrays[INPUT]
        count = len(next(iter(arrays.values())))
        rows = np.zeros((count, self.features), object)
        for position, name in enumerate(self.names):
            if name is not None:
                rows[:, position] = arrays[name][:, 0]
        return rows

    def arrays(self, rows: NDArray[Any]) -> Arrays:
        """The argument of run -> inputs by name."""
        if not self.names:
            return {INPUT: rows}
        return {
            name: rows[:, [position]].astype(numpy_dtype(self.columns[position].dtype))
            for position, name in enumerate(self.names)
            if name is not None
        }


def table_source(table: Table, converted: onnx.ModelProto, request: ConversionRequest) -> SourceModel:
    """Raises InputSpecError for an --input that is not the table."""
    inputs = fix_inputs(table.inputs, request.inputs, request.dims)
    path = request.scratch / "model.onnx"
    _write(table, converted, inputs, path)
    _inputs, outputs = interface(path)

    def run(arrays: Arrays) -> Arrays:
        found = table.run(table.rows(arrays))
        return {a.name: _fitting(np.asarray(array), a) for a, array in zip(table.answers, found, strict=True)}

    def draw(rng: np.random.Generator) -> Arrays:
        count = inputs[0].shape[0]
        return table.arrays(drawn_rows(table.columns, rng, count if isinstance(count, int) else 1))

    def special(seed: int) -> tuple[tuple[str, Arrays], ...]:
        count = inputs[0].shape[0]
        size = count if isinstance(count, int) else 1
        return tuple(
            (kind, table.arrays(rows[start : start + size]))
            for kind, many in special_rows(table.columns, seed)
            for rows in (np.resize(many, (-(-len(many) // size) * size, many.shape[1])),)
            for start in range(0, len(rows), size)
        )

    notes = (*table.notes, *_class_notes(table.classes))
    return SourceModel(
        path,
        table.framework,
        inputs,
        outputs,
        run,
        notes=notes,
        draw=drawn_by(draw),
        special=special,
        any_rows=True,
        labels=_class_labels(table),
    )


def _fitting(array: Any, answer: Answer) -> Any:
    rows = array.shape[0]
    return array.reshape((rows, answer.columns) if answer.columns else (rows,)).astype(numpy_dtype(answer.dtype))


def _class_labels(table: Table) -> tuple[OutputLabels, ...]:
    """Labels for the columns of probabilities, if classes are strings."""
    if not table.classes or not isinstance(table.classes[0], str):
        return ()
    per_class = [answer.name for answer in table.answers if answer.columns == len(table.classes)]
    return tuple(OutputLabels(name, BY_POSITION, tuple(table.classes)) for name in per_class)


def _class_notes(classes: tuple[Any, ...]) -> tuple[str, ...]:
    if not classes or classes == tuple(range(len(classes))):
        return ()
    shown = ", ".join(map(str, classes[:_MAX_CLASSES_SHOWN])) + (", ..." if len(classes) > _MAX_CLASSES_SHOWN else "")
    return (f"the columns of probabilities or scores are the classes: {shown}",)


def _write(table: Table, converted: onnx.ModelProto, inputs: Sequence[TensorSpec], path: Path) -> None:
    """Writes the model with the names and shapes of inputs and table.answers."""
    model = onnx.compose.add_prefix(converted, _PREFIX, rename_inputs=False)
    # converters declare only some domains, and some an older version than they use
    del model.opset_import[:]
    graph = model.graph
    called = {COLUMN.format(i): name for i, name in enumerate(table.names) if name is not None}
    for node in graph.node:
        node.input[:] = [called.get(name, name) for name in node.input]
    used = {node.domain for node in graph.node}
    opsets = OPSETS | {domain: version for domain, version in _MORE_OPSETS.items() if domain in used}
    model.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in opsets.items())
    for node in graph.node:
        if node.op_type == "StringNormalizer" and not any(a.name == "locale" for a in node.attribute):
            node.attribute.append(helper.make_attribute("locale", _LOCALE))
    # converters write some wrong shapes, and ONNX's inference does not support all of ai.onnx.ml
    for values in (graph.input, graph.output, graph.value_info):
        del values[:]
    for spec in inputs:
        dtype = helper.np_dtype_to_tensor_dtype(numpy_dtype(spec.dtype))
        graph.input.append(helper.make_tensor_value_info(spec.name, dtype, spec.shape))
    for answer in table.answers:
        _add_output(graph, answer, inputs[0].shape[0])
    save(model, path)


def _add_output(graph: onnx.GraphProto, answer: Answer, rows: Dim) -> None:
    name, prefix = _PREFIX + answer.converted, f"answer_{answer.name}"

    def add(operator: str, inputs: list[str], step: str, **attributes: Any) -> str:
        output = f"{prefix}_{step}"
        graph.node.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    if answer.only_column is not None:
        graph.initializer.append(
            helper.make_tensor(f"{prefix}_index", onnx.TensorProto.INT64, [], [answer.only_column])
        )
        name = add("Gather", [name, f"{prefix}_index"], "column", axis=1)
    shape = [-1, answer.columns] if answer.columns else [-1]
    graph.initializer.append(helper.make_tensor(f"{prefix}_shape", onnx.TensorProto.INT64, [len(shape)], shape))
    name = add("Reshape", [name, f"{prefix}_shape"], "shaped")
    dtype = helper.np_dtype_to_tensor_dtype(numpy_dtype(answer.dtype))
    graph.node.append(helper.make_node("Cast", [name], [answer.name], name=f"{prefix}_cast", to=dtype))
    dims: list[str | int] = [rows, answer.columns] if answer.columns else [rows]
    graph.output.append(helper.make_tensor_value_info(answer.name, dtype, dims))

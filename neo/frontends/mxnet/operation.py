"""What an operator converter gets: one MXNet node whose inputs are already ONNX tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from neo.contract.tensors import Dim
from neo.errors import InputSpecError, ModelError, UnsupportedModel
from neo.frontends.mxnet.attributes import Attributes
from neo.frontends.mxnet.onnx_graph import OnnxGraph, Value


@dataclass(frozen=True, slots=True)
class Operation:
    """One node being converted. name: of its output, a wish for the ONNX tensors' names."""

    graph: OnnxGraph
    operator: str
    name: str
    where: str
    inputs: tuple[Value, ...]
    attributes: Attributes

    @property
    def data(self) -> Value:
        return self.input(0, "data")

    def input(self, position: int, role: str) -> Value:
        if position >= len(self.inputs):
            raise ModelError(f"{self.where} lacks its input {position} ({role})")
        return self.inputs[position]

    def emit(self, operator: str, *inputs: Value | None, **attributes: Any) -> Value:
        """One ONNX node with one output."""
        return self.emit_several(operator, 1, *inputs, **attributes)[0]

    def emit_several(self, operator: str, outputs: int, *inputs: Value | None, **attributes: Any) -> tuple[Value, ...]:
        return self.graph.add(operator, inputs, self.name, outputs, self.where, **attributes)

    def constant(self, elements: ArrayLike, dtype: str = "int64") -> Value:
        # a float16 graph may well carry a bound such as 1e38: infinity is what MXNet makes of it too
        with np.errstate(over="ignore"):
            array = np.asarray(elements, dtype)
        return self.graph.constant(f"{self.name}_constant", array)

    def reshape(self, value: Value, shape: Sequence[int]) -> Value:
        """ONNX's codes: 0 keeps a dimension, -1 is what is left."""
        return self.emit("Reshape", value, self.constant(shape))

    def axis(self, axis: int, rank: int) -> int:
        """The axis counted from the front. Raises ModelError if there is no such axis."""
        if not -rank <= axis < rank:
            raise ModelError(f"{self.where}: axis {axis} of a tensor with {rank} dimensions")
        return axis % rank

    def size(self, value: Value, axis: int) -> int:
        """The size of a dimension that has to be known now."""
        dim = self._dim(value, axis)
        if isinstance(dim, int):
            return dim
        raise InputSpecError(
            f"{self.where} needs to know dimension {axis} of {value}",
            hint=f"fix the size with --dim {dim}=1, or give whole numbers in --input",
        )

    def require_rank(self, value: Value, rank: int) -> None:
        if value.rank != rank:
            raise InputSpecError(
                f"{self.where} wants {rank} dimensions, found {value}",
                hint="give --input with the dimensions of the model's training data, batch first",
            )

    def require_size(self, value: Value, axis: int, wanted: int, what: str) -> None:
        """Raises InputSpecError if the dimension is known and not ``wanted``."""
        found = self._dim(value, axis)
        if isinstance(found, int) and found != wanted:
            raise InputSpecError(
                f"{self.where} wants {wanted} {what}, found {found} in {value}",
                hint="is --input the size and layout (NCHW) that the model was trained with?",
            )

    def _dim(self, value: Value, axis: int) -> Dim:
        if axis >= value.rank:
            raise InputSpecError(f"{self.where} wants at least {axis + 1} dimensions, found {value}")
        return value.shape[axis]

    def unsupported(self, reason: str, hint: str = "") -> UnsupportedModel:
        return UnsupportedModel(f"{self.where}: {reason}", hint=hint)


Converter = Callable[[Operation], Value | tuple[Value, ...]]

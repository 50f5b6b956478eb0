"""What an operator converter gets: one MXNet node whose inputs are already ONNX tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from neo.contract.tensors import Dim
from neo.errors import InputSpecError, ModelError, UnsupportedModel
from neo.frontends.mxnet.attributes import Attributes
from neo.frontends.mxnet.onnx_graph import OnnxGraph, Value, element_type

# positions along a dimension become a constant; no tensor of a model is longer
MAX_COUNTED = 1 << 24


@dataclass(frozen=True, slots=True)
class Operation:
    """One node that is being converted."""

    graph: OnnxGraph
    operator: str
    #: of its output; the names of ONNX tensors are derived from it
    name: str
    #: names the node in messages
    where: str
    inputs: tuple[Value, ...]
    attributes: Attributes
    #: do shapes follow numpy, so that a tensor may have no dimensions?
    numpy: bool = False

    @property
    def data(self) -> Value:
        return self.input(0, "data")

    def input(self, position: int, role: str) -> Value:
        if position >= len(self.inputs):
            raise ModelError(f"{self.where} lacks its input {position} ({role})")
        return self.inputs[position]

    def with_inputs(self, *inputs: Value) -> Operation:
        return replace(self, inputs=inputs)

    def with_data(self, data: Value) -> Operation:
        return replace(self, inputs=(data, *self.inputs[1:]))

    def emit(self, operator: str, *inputs: Value | None, **attributes: Any) -> Value:
        """One ONNX node with one output."""
        return self.emit_several(operator, 1, *inputs, **attributes)[0]

    def emit_several(self, operator: str, outputs: int, *inputs: Value | None, **attributes: Any) -> tuple[Value, ...]:
        return self.graph.add(operator, inputs, self.name, outputs, self.where, **attributes)

    def constant(self, elements: ArrayLike, dtype: str = "int64") -> Value:
        # a float16 graph may well carry a bound such as 1e38: infinity is what MXNet makes of it too
        try:
            with np.errstate(over="ignore"):
                array = np.asarray(elements, dtype)
        except OverflowError as error:
            raise self.unsupported(f"numbers beyond {dtype}", "give its input as float32") from error
        return self.graph.constant(f"{self.name}_constant", array)

    def reshape(self, value: Value, shape: Sequence[int]) -> Value:
        """ONNX's codes: 0 keeps a dimension, -1 is what is left."""
        return self.emit("Reshape", value, self.constant(shape))

    def cast(self, value: Value, dtype: str) -> Value:
        return value if value.dtype == dtype else self.emit("Cast", value, to=element_type(dtype))

    def counting(self, size: int, shape: Sequence[int] = (-1,)) -> Value:
        """0, 1 up to size - 1 as int64 in a shape, to be compared with what is broadcast against it."""
        if size > MAX_COUNTED:
            raise self.unsupported(f"a dimension of {size}")
        return self.constant(np.arange(size).reshape(shape))

    def expanded_like(self, value: Value, like: Value) -> Value:
        """Broadcast to the shape of ``like``, which may be dynamic."""
        if value.shape == like.shape:
            return value
        if all(isinstance(dim, int) for dim in like.shape):
            return self.emit("Expand", value, self.constant(self.sizes(like)))
        # inference does not see that the result has the names of the dynamic dimensions
        return replace(self.emit("Expand", value, self.emit("Shape", like)), shape=like.shape)

    def transposed(self, value: Value, order: Sequence[int]) -> Value:
        return value if list(order) == list(range(value.rank)) else self.emit("Transpose", value, perm=order)

    def moved(self, value: Value, source: int, destination: int) -> Value:
        """One axis moved; the others keep their order."""
        order = [axis for axis in range(value.rank) if axis != source]
        order.insert(destination, source)
        return self.transposed(value, order)

    def sizes(self, value: Value) -> tuple[int, ...]:
        """All dimensions, which have to be known now."""
        return tuple(self.size(value, axis) for axis in range(value.rank))

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

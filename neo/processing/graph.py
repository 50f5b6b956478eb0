"""Builds ONNX nodes one after another, with names that are unique in the model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper


class Graph:
    """prefix: of all new names. taken: names that the model uses already."""

    def __init__(self, prefix: str, taken: Iterable[str]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._prefix = prefix
        self._taken = set(taken)
        self._count = 0

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output; -> the output's name. An input "" is left out."""
        (name,) = self.add_many(operator, inputs, 1, **attributes)
        return name

    def add_many(self, operator: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> tuple[str, ...]:
        names = tuple(self._new_name(operator.lower()) for _ in range(outputs))
        self.nodes.append(helper.make_node(operator, list(inputs), list(names), name=names[0], **attributes))
        return names

    def constant(self, value: NDArray[Any] | Sequence[float], dtype: str = "float32") -> str:
        name = self._new_name("constant")
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def whole(self, *values: int) -> str:
        """A list of int64."""
        return self.constant(list(values), "int64")

    def cast(self, value: str, dtype: str) -> str:
        return self.add("Cast", value, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def slice(self, value: str, axis: int, start: int, stop: int) -> str:
        return self.add("Slice", value, self.whole(start), self.whole(stop), self.whole(axis))

    def name_last(self, value: str, name: str) -> None:
        """Call the value by name, as an output of the model."""
        self.nodes.append(helper.make_node("Identity", [value], [name], name=self._new_name("identity")))

    def _new_name(self, kind: str) -> str:
        while True:
            name = f"{self._prefix}/{kind}_{self._count}"
            self._count += 1
            if name not in self._taken:
                return name

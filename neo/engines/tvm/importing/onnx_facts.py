"""What an ONNX graph says about its tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from numpy.typing import NDArray

from neo.contract.fields import ContractError
from neo.contract.strings import STRING
from neo.contract.tensors import TensorSpec
from neo.onnx_tools.walk import subgraphs

_Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about a graph's tensors, by name."""

    #: tensors with fixed shapes
    specs: dict[str, TensorSpec]
    #: initializers
    constants: dict[str, onnx.TensorProto]
    #: tensors of strings
    strings: frozenset[str] = frozenset()

    def spec(self, name: str) -> TensorSpec | None:
        return self.specs.get(name)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Shape of a tensor or a constant; None if it is not known."""
        if name in self.constants:
            return tuple(self.constants[name].dims)
        spec = self.spec(name)
        return None if spec is None else tuple(dim for dim in spec.shape if isinstance(dim, int))

    def array(self, name: str) -> NDArray[Any] | None:
        """Value of a constant; None for other tensors."""
        return onnx.numpy_helper.to_array(self.constants[name]) if name in self.constants else None

    def tensors_of(self, node: onnx.NodeProto) -> Iterator[str]:
        """The node's inputs and outputs without constants."""
        yield from (name for name in (*read_by(node), *node.output) if name and name not in self.constants)


def read_facts(graph: onnx.GraphProto) -> Facts:
    """graph: after shape inference."""
    values = (*graph.input, *graph.value_info, *graph.output)
    found = ((value.name, _spec(value)) for value in values)
    strings = {value.name for value in values if value.type.tensor_type.elem_type == onnx.TensorProto.STRING}
    strings |= {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.STRING}
    return Facts(
        {name: spec for name, spec in found if spec is not None},
        {tensor.name: tensor for tensor in graph.initializer},
        frozenset(strings),
    )


def read_by(node: onnx.NodeProto) -> list[str]:
    """The node's inputs, and what its subgraphs read from outside."""
    names = [name for name in node.input if name]
    for graph in subgraphs(node):
        own = {value.name for value in (*graph.input, *graph.initializer)}
        for inner in graph.node:
            names += [name for name in read_by(inner) if name not in own]
            own.update(inner.output)
        names += [value.name for value in graph.output if value.name not in own]
    return names


def multiply_adds(node: onnx.NodeProto, facts: Facts) -> int:
    """Of a convolution, matrix product or recurrent cell; 0 for other nodes and unknown shapes."""
    count = _WORK.get(node.op_type)
    names = [*node.input, next(name for name in node.output if name)]
    shapes = [facts.shape(name) for name in names if name]
    known = [shape for shape in shapes if shape is not None]
    return 0 if count is None or len(known) != len(shapes) else count(node, known[-1], known)


def _gemm(node: onnx.NodeProto, result: _Shape, inputs: Sequence[_Shape]) -> int:
    return math.prod(result) * inputs[0][0 if attribute(node, "transA") else 1]


def _recurrent(_node: onnx.NodeProto, _result: _Shape, inputs: Sequence[_Shape]) -> int:
    return math.prod(inputs[0][:2]) * (math.prod(inputs[1]) + math.prod(inputs[2]))


_WORK: Mapping[str, Callable[[onnx.NodeProto, _Shape, Sequence[_Shape]], int]] = {
    "Conv": lambda _, result, inputs: math.prod(result) * math.prod(inputs[1][1:]),
    "ConvTranspose": lambda _, _result, inputs: math.prod(inputs[0]) * math.prod(inputs[1][1:]),
    "GRU": _recurrent,
    "Gemm": _gemm,
    "LSTM": _recurrent,
    "MatMul": lambda _, result, inputs: math.prod(result) * inputs[0][-1],
    "RNN": _recurrent,
}


def attribute(node: onnx.NodeProto, name: str) -> Any:
    """Value of the attribute; None if the node does not have it."""
    return next((onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == name), None)


def _spec(value: onnx.ValueInfoProto) -> TensorSpec | None:
    if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
        return None
    tensor = value.type.tensor_type
    if not all(dim.HasField("dim_value") for dim in tensor.shape.dim):
        return None
    try:
        return TensorSpec(value.name, tensor_dtype(tensor.elem_type), tuple(dim.dim_value for dim in tensor.shape.dim))
    except (KeyError, ContractError):  # types without an equivalent in numpy
        return None


def tensor_dtype(elem_type: int) -> str:
    """ONNX's element type -> the contract's dtype. Raises KeyError for types without an equivalent in numpy."""
    if elem_type == onnx.TensorProto.STRING:
        return STRING
    return str(onnx.helper.tensor_dtype_to_np_dtype(elem_type).name)

"""A growing ONNX graph that knows the type and shape of every tensor in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import InitVar, dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper, shape_inference

from neo.contract.tensors import MAX_DIM, Dim, TensorSpec
from neo.errors import InputSpecError, UnsupportedModel

OPSET = 17
IR_VERSION = 8
INT64 = int(onnx.TensorProto.INT64)

# shape inference reads the values of shapes, axes and the like; weights are never among them
MAX_INFERENCE_ELEMENTS = 256

_OPSET_IMPORTS = [helper.make_opsetid("", OPSET)]


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of the graph."""

    name: str
    #: as numpy names it
    dtype: str
    shape: tuple[Dim, ...]
    #: its elements if it is constant
    array: NDArray[Any] | None = None

    @property
    def rank(self) -> int:
        return len(self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


@dataclass(slots=True)
class OnnxGraph:
    """Nodes, in order, and the constants they use.

    reserved: names of the model's inputs and outputs, which no tensor within may take.
    """

    reserved: InitVar[Iterable[str]]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)
    _new_dims: int = 0

    def __post_init__(self, reserved: Iterable[str]) -> None:
        self._names.update(reserved)

    def input(self, spec: TensorSpec) -> Value:
        return Value(spec.name, spec.dtype, spec.shape)

    def constant(self, name: str, array: NDArray[Any]) -> Value:
        unique = self._unique(name)
        self.constants[unique] = array
        return Value(unique, array.dtype.name, array.shape, array)

    def add(
        self, operator: str, inputs: Sequence[Value | None], name: str, outputs: int, where: str, **attributes: Any
    ) -> tuple[Value, ...]:
        """Append one ONNX node and infer types and shapes of its outputs.

        inputs: None for an optional one that is left out. name: outputs get this name, or one derived from it. where:
        the MXNet node, for errors. Raises InputSpecError if the inputs' shapes or types do not fit together,
        UnsupportedModel if ONNX has no such operator on these types.
        """
        schema = onnx.defs.get_schema(operator, OPSET, "")
        _check_types(schema, inputs, where)
        names = [self._unique(name) for _ in range(outputs)]
        given = ["" if value is None else value.name for value in inputs]
        # ONNX Runtime folds nothing into a convolution with an empty name where the bias could be
        while given and not given[-1]:
            given.pop()
        node = helper.make_node(operator, given, names, names[0], **attributes)
        types = _infer(schema, node, [value for value in inputs if value is not None], where)
        self.nodes.append(node)
        return tuple(self._value(name, types.get(name), where) for name in names)

    def _value(self, name: str, inferred: onnx.TypeProto | None, where: str) -> Value:
        if inferred is None or not inferred.tensor_type.HasField("shape"):
            raise UnsupportedModel(f"{where}: the shape of its output is not known before it runs")
        tensor = inferred.tensor_type
        shape = tuple(self._dim(dim) for dim in tensor.shape.dim)
        if any(isinstance(dim, int) and not 0 < dim <= MAX_DIM for dim in shape):
            raise InputSpecError(
                f"{where} would give a tensor of shape {list(shape)}",
                hint="give the size that the model was trained with, as in --input data=float32[1,3,224,224]",
            )
        return Value(name, np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name, shape)

    def _dim(self, dim: onnx.TensorShapeProto.Dimension) -> Dim:
        if dim.HasField("dim_value"):
            return int(dim.dim_value)
        if dim.dim_param:
            return str(dim.dim_param)
        self._new_dims += 1
        return f"size{self._new_dims}"

    def _unique(self, wish: str) -> str:
        name, number = wish, 1
        while name in self._names:
            name, number = f"{wish}_{number}", number + 1
        self._names.add(name)
        return name

    def model(self, inputs: Sequence[Value], outputs: Sequence[tuple[str, Value]], producer: str) -> onnx.ModelProto:
        """The finished model; outputs: each output's name and the value it has."""
        self._name_outputs(inputs, outputs)
        used = {name for node in self.nodes for name in node.input}
        graph = helper.make_graph(
            self.nodes,
            "mxnet",
            [_value_info(value.name, value) for value in inputs],
            [_value_info(name, value) for name, value in outputs],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items() if name in used],
        )
        return helper.make_model(graph, opset_imports=_OPSET_IMPORTS, ir_version=IR_VERSION, producer_name=producer)

    def _name_outputs(self, inputs: Sequence[Value], outputs: Sequence[tuple[str, Value]]) -> None:
        """Rename the tensors that are outputs; what is an input, a constant or already an output gets an Identity."""
        fixed = {value.name for value in inputs} | self.constants.keys()
        renamed: dict[str, str] = {}
        copies: list[onnx.NodeProto] = []
        for name, value in outputs:
            if value.name in fixed or value.name in renamed:
                source = renamed.get(value.name, value.name)
                copies.append(helper.make_node("Identity", [source], [name], name))
            else:
                renamed[value.name] = name
        for node in self.nodes:
            node.input[:] = [renamed.get(name, name) for name in node.input]
            node.output[:] = [renamed.get(name, name) for name in node.output]
        self.nodes.extend(copies)


def _value_info(name: str, value: Value) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element_type(value.dtype), list(value.shape))


def element_type(dtype: str) -> int:
    """ONNX's number for a dtype named as numpy names it."""
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _check_types(schema: onnx.defs.OpSchema, inputs: Sequence[Value | None], where: str) -> None:
    """Inputs that share a type variable have one type, and ONNX knows the operator for it."""
    allowed = {constraint.type_param_str: constraint.allowed_type_strs for constraint in schema.type_constraints}
    bound: dict[str, Value] = {}
    for position, value in enumerate(inputs):
        # the last formal input of a variadic operator stands for all that follow
        variable = schema.inputs[min(position, len(schema.inputs) - 1)].type_str
        if value is None or variable not in allowed:
            continue
        first = bound.setdefault(variable, value)
        if first.dtype != value.dtype:
            raise InputSpecError(
                f"{where} would mix {first.dtype} and {value.dtype}",
                hint="give the inputs the parameters' type, as in --input data=float32[1,3,224,224]",
            )
    for variable, value in bound.items():
        if not _is_allowed(value, allowed[variable]):
            raise UnsupportedModel(
                f"{where}: ONNX has no {schema.name} for {value.dtype}",
                hint="if an input was given with this type, try --input NAME=float32[...]",
            )


def _is_allowed(value: Value, allowed: Sequence[str]) -> bool:
    names = {"float32": "float", "float64": "double"}
    return f"tensor({names.get(value.dtype, value.dtype)})" in allowed


def _infer(
    schema: onnx.defs.OpSchema, node: onnx.NodeProto, inputs: Sequence[Value], where: str
) -> dict[str, onnx.TypeProto]:
    types = {
        value.name: helper.make_tensor_type_proto(element_type(value.dtype), list(value.shape)) for value in inputs
    }
    known = {
        value.name: numpy_helper.from_array(value.array, value.name)
        for value in inputs
        if value.array is not None and value.array.size <= MAX_INFERENCE_ELEMENTS
    }
    try:
        return shape_inference.infer_node_outputs(
            schema, node, types, known, opset_imports=_OPSET_IMPORTS, ir_version=IR_VERSION
        )
    except (shape_inference.InferenceError, ValueError) as error:
        shapes = ", ".join(map(str, inputs))
        raise InputSpecError(
            f"{where}: its inputs do not fit together: {shapes}",
            hint="is --input the size and layout (NCHW) that the model was trained with?",
        ) from error

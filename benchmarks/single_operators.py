"""The distinct convolutions and matrix products of a network, each as a model of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from benchmarks.reference import reference_outputs
from neo.onnx_tools.files import load, save
from neo.runtime.golden import write_golden

HEAVY = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# attribute -> its letter in an operator's name, and the value that is not worth showing
SHOWN_ATTRIBUTES = {
    "pads": ("p", 0),
    "strides": ("s", 1),
    "group": ("g", 1),
    "dilations": ("d", 1),
    "transA": ("ta", 0),
    "transB": ("tb", 0),
}
MODEL_FILE = "model.onnx"
SEED = 0

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Operator:
    """name: for people. model: the operator alone, with its own weights. count: how often the network has it.
    flops: floating-point operations of one run, a multiply-add being two.
    """

    name: str
    model: onnx.ModelProto
    count: int
    flops: int


def heavy_operators(path: Path) -> tuple[Operator, ...]:
    """In the order of their first appearance. All shapes have to be known, or to follow from those of the inputs."""
    model = onnx.shape_inference.infer_shapes(load(path))
    shapes = _shapes(model.graph)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    seen: dict[str, tuple[onnx.NodeProto, int]] = {}
    for node in model.graph.node:
        if node.op_type in HEAVY:
            name = _name(node, shapes, weights)
            first, count = seen.get(name, (node, 0))
            seen[name] = (first, count + 1)
    return tuple(
        Operator(name, _alone(node, model, shapes, weights), count, _flops(node, shapes))
        for name, (node, count) in seen.items()
    )


def reference_product(size: int = 1024) -> Operator:
    """A square matrix product with a constant right side: what a library does best."""
    rng = np.random.default_rng(SEED)
    weight = onnx.numpy_helper.from_array(rng.normal(0, size**-0.5, (size, size)).astype(np.float32), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    shapes: dict[str, Shape] = {"x": (size, size), "w": (size, size), "y": (size, size)}
    opsets = [helper.make_opsetid("", 18)]
    empty = helper.make_model(helper.make_graph([node], "g", [], []), opset_imports=opsets, ir_version=10)
    return Operator(f"MatMul {size}^3", _alone(node, empty, shapes, {"w": weight}), 0, 2 * size**3)


def write_operator(operator: Operator, folder: Path) -> None:
    """model.onnx, and golden samples with ONNX Runtime's unoptimised answers."""
    save(operator.model, folder / MODEL_FILE)
    rng = np.random.default_rng(SEED)
    inputs = {
        value.name: rng.standard_normal([dim.dim_value for dim in value.type.tensor_type.shape.dim]).astype(np.float32)
        for value in operator.model.graph.input
    }
    write_golden(folder, [(inputs, reference_outputs(folder / MODEL_FILE, inputs))])


def _shapes(graph: onnx.GraphProto) -> dict[str, Shape]:
    values = [*graph.input, *graph.output, *graph.value_info]
    shapes = {value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim) for value in values}
    return shapes | {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}


def _name(node: onnx.NodeProto, shapes: dict[str, Shape], weights: dict[str, onnx.TensorProto]) -> str:
    """The operator with its shapes and those attributes that matter: equal names are equal work."""
    operands = " ".join(_size(shapes[name]) + ("w" if name in weights else "") for name in node.input[:2])
    return " ".join([node.op_type, operands, *_attributes(node)])


def _attributes(node: onnx.NodeProto) -> Iterator[str]:
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    for name, (letter, default) in SHOWN_ATTRIBUTES.items():
        value = given.get(name, default)
        values = sorted(set(value if isinstance(value, list) else [value]))
        if values != [default]:
            yield letter + (str(values[0]) if len(values) == 1 else "x".join(map(str, value)))


def _size(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _flops(node: onnx.NodeProto, shapes: dict[str, Shape]) -> int:
    left, right, out = shapes[node.input[0]], shapes[node.input[1]], shapes[node.output[0]]
    if node.op_type == "Conv":
        return 2 * math.prod(out) * math.prod(right[1:])
    if node.op_type == "ConvTranspose":
        return 2 * math.prod(left) * math.prod(right[1:])
    turned = next((attribute.i for attribute in node.attribute if attribute.name == "transA"), 0)
    return 2 * math.prod(out) * left[-2 if turned else -1]


def _alone(
    node: onnx.NodeProto, model: onnx.ModelProto, shapes: dict[str, Shape], weights: dict[str, onnx.TensorProto]
) -> onnx.ModelProto:
    def values(names: Iterator[str]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shapes[name]) for name in names]

    graph = helper.make_graph(
        [node],
        "operator",
        values(name for name in node.input if name not in weights),
        values(iter(node.output)),
        [weights[name] for name in node.input if name in weights],
    )
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)

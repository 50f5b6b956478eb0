"""The softmax family, and the outputs that training puts a loss on."""

from __future__ import annotations

import numpy as np

from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Converter, Operation
from neo.frontends.mxnet.operators.masks import before_length, passed_through

WIDTHS = ("float16", "float32", "float64")


def softmax(op: Operation) -> Value:
    return _softmax(op, op.data, "Softmax")


def log_softmax(op: Operation) -> Value:
    return _softmax(op, op.data, "LogSoftmax")


def softmin(op: Operation) -> Value:
    return _softmax(op, op.emit("Neg", op.data), "Softmax")


def _softmax(op: Operation, x: Value, operator: str) -> Value:
    """Divided by the temperature, in the wanted type; beyond the length of a row, if there is one, all is 0."""
    axis = op.axis(op.attributes.integer("axis", -1), x.rank)
    x = op.cast(x, op.attributes.choice("dtype", WIDTHS, x.dtype if x.dtype in WIDTHS else "float32"))
    temperature = op.attributes.number("temperature", 1.0)
    if temperature != 1.0:
        x = op.emit("Div", x, op.constant(temperature, x.dtype))
    if not op.attributes.boolean("use_length", default=False):
        return op.emit(operator, x, axis=axis)
    inside = before_length(op, x, op.input(1, "length"), axis)
    x = op.emit("Where", inside, x, op.constant(np.finfo(x.dtype).min, x.dtype))
    return op.emit("Where", inside, op.emit(operator, x, axis=axis), op.constant(0.0, x.dtype))


def softmax_activation(op: Operation) -> Value:
    if op.attributes.choice("mode", ("instance", "channel"), "instance") == "channel":
        return op.emit("Softmax", op.data, axis=op.axis(1, op.data.rank))
    return op.emit("Softmax", op.data, axis=op.axis(-1, op.data.rank))


def softmax_output(op: Operation) -> Value:
    """The label is for training only; what remains is a softmax.

    Of more than two dimensions and neither multi_output nor preserve_shape, MXNet's documentation and its own kernels
    take all but the first together; its oneDNN kernels (CPU, 1.6 and later) take the last alone. We follow the former.
    """
    if op.attributes.boolean("multi_output", default=False):
        return op.emit("Softmax", op.data, axis=op.axis(1, op.data.rank))
    if op.attributes.boolean("preserve_shape", default=False):
        return op.emit("Softmax", op.data, axis=op.axis(-1, op.data.rank))
    return _softmax_per_example(op)


def _softmax_per_example(op: Operation) -> Value:
    """Over everything but the batch dimension."""
    if op.data.rank <= 2:
        return op.emit("Softmax", op.data, axis=op.axis(-1, op.data.rank))
    flat = op.emit("Softmax", op.emit("Flatten", op.data, axis=1), axis=1)
    return op.reshape(flat, (0, *(op.size(op.data, axis) for axis in range(1, op.data.rank))))


def logistic_output(op: Operation) -> Value:
    return op.emit("Sigmoid", op.data)


CONVERTERS: dict[str, Converter] = {
    "LinearRegressionOutput": passed_through,
    "LogisticRegressionOutput": logistic_output,
    "MAERegressionOutput": passed_through,
    "SVMOutput": passed_through,
    "Softmax": softmax_output,  # before MXNet 0.9 the output with its loss had this name
    "SoftmaxActivation": softmax_activation,
    "SoftmaxOutput": softmax_output,
    "log_softmax": log_softmax,
    "softmax": softmax,
    "softmin": softmin,
}

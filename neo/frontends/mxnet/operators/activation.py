"""Activations, and the outputs that training puts a loss on."""

from __future__ import annotations

import math

from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Operation

ACTIVATIONS = {
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "softrelu": "Softplus",
    "softsign": "Softsign",
}
SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def activation(op: Operation) -> Value:
    return op.emit(ACTIVATIONS[op.attributes.choice("act_type", tuple(ACTIVATIONS))], op.data)


def leaky_relu(op: Operation) -> Value:
    kinds = ("leaky", "elu", "selu", "prelu", "rrelu", "gelu")
    kind = op.attributes.choice("act_type", kinds, "leaky")
    if kind == "elu":
        return op.emit("Elu", op.data, alpha=op.attributes.number("slope", 0.25))
    if kind == "selu":
        return op.emit("Selu", op.data, alpha=SELU_ALPHA, gamma=SELU_SCALE)
    if kind == "prelu":
        return _parametric_relu(op)
    if kind == "gelu":
        return _gelu(op)
    return op.emit("LeakyRelu", op.data, alpha=_slope(op, kind))


def _slope(op: Operation, kind: str) -> float:
    if kind == "leaky":
        return op.attributes.number("slope", 0.25)
    # the random slope of rrelu is the middle of its range outside training
    return (op.attributes.number("lower_bound", 0.125) + op.attributes.number("upper_bound", 0.334)) / 2


def _parametric_relu(op: Operation) -> Value:
    """One slope for all, or one per channel (axis 1)."""
    slope = op.input(1, "gamma")
    if slope.rank == 1 and op.data.rank > 2:
        slope = op.reshape(slope, (-1,) + (1,) * (op.data.rank - 2))
    return op.emit("PRelu", op.data, slope)


def _gelu(op: Operation) -> Value:
    """X / 2 (1 + erf(x / sqrt 2))"""
    x = op.data
    error = op.emit("Erf", op.emit("Div", x, op.constant(math.sqrt(2.0), x.dtype)))
    weight = op.emit("Add", error, op.constant(1.0, x.dtype))
    return op.emit("Mul", op.emit("Mul", x, weight), op.constant(0.5, x.dtype))


def hard_sigmoid(op: Operation) -> Value:
    alpha, beta = op.attributes.number("alpha", 0.2), op.attributes.number("beta", 0.5)
    return op.emit("HardSigmoid", op.data, alpha=alpha, beta=beta)


def softmax(op: Operation) -> Value:
    return _softmax(op, "Softmax")


def log_softmax(op: Operation) -> Value:
    return _softmax(op, "LogSoftmax")


def _softmax(op: Operation, operator: str) -> Value:
    if op.attributes.boolean("use_length", default=False):
        raise op.unsupported("use_length=True")
    x = op.data
    temperature = op.attributes.number("temperature", 1.0)
    if temperature != 1.0:
        x = op.emit("Div", x, op.constant(temperature, x.dtype))
    result = op.emit(operator, x, axis=op.axis(op.attributes.integer("axis", -1), x.rank))
    wanted = op.attributes.text("dtype", x.dtype)
    if wanted != x.dtype:
        raise op.unsupported(f"dtype={wanted} of {x.dtype}")
    return result


def softmax_activation(op: Operation) -> Value:
    if op.attributes.choice("mode", ("instance", "channel"), "instance") == "channel":
        return op.emit("Softmax", op.data, axis=1)
    return op.emit("Softmax", op.data, axis=op.data.rank - 1)


def softmax_output(op: Operation) -> Value:
    """The label is for training only; what remains is a softmax.

    Of more than two dimensions and neither multi_output nor preserve_shape, MXNet's documentation and its own kernels
    take all but the first together; its oneDNN kernels (CPU, 1.6 and later) take the last alone. We follow the former.
    """
    if op.attributes.boolean("multi_output", default=False):
        return op.emit("Softmax", op.data, axis=1)
    if op.attributes.boolean("preserve_shape", default=False):
        return op.emit("Softmax", op.data, axis=op.data.rank - 1)
    return _softmax_per_example(op)


def _softmax_per_example(op: Operation) -> Value:
    """Over everything but the batch dimension."""
    if op.data.rank <= 2:
        return op.emit("Softmax", op.data, axis=op.data.rank - 1)
    flat = op.emit("Softmax", op.emit("Flatten", op.data, axis=1), axis=1)
    return op.reshape(flat, (0, *(op.size(op.data, axis) for axis in range(1, op.data.rank))))


def logistic_output(op: Operation) -> Value:
    return op.emit("Sigmoid", op.data)


def passed_through(op: Operation) -> Value:
    """What only matters to training."""
    return op.data


def dropout(op: Operation) -> Value:
    if op.attributes.choice("mode", ("training", "always"), "training") == "always":
        raise op.unsupported('mode="always" drops at random at inference too')
    return op.data

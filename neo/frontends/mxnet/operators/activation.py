"""Activations, and what has no effect outside training."""

from __future__ import annotations

import math

from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Converter, Operation
from neo.frontends.mxnet.operators.masks import passed_through

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


def dropout(op: Operation) -> Value:
    if op.attributes.choice("mode", ("training", "always"), "training") == "always":
        raise op.unsupported('mode="always" drops at random at inference too')
    return op.data


def smooth_l1(op: Operation) -> Value:
    """(s x)^2 / 2 where abs(x) < 1 / s^2, abs(x) - 1 / (2 s^2) elsewhere, for s the attribute "scalar"."""
    x, squared = op.data, op.attributes.number("scalar", 1.0) ** 2
    if not 0 < squared < math.inf:
        raise op.unsupported(f"scalar={op.attributes.text('scalar')}")
    distance = op.emit("Abs", x)
    near = op.emit("Mul", op.emit("Mul", x, x), op.constant(squared / 2, x.dtype))
    far = op.emit("Sub", distance, op.constant(0.5 / squared, x.dtype))
    return op.emit("Where", op.emit("Less", distance, op.constant(1 / squared, x.dtype)), near, far)


CONVERTERS: dict[str, Converter] = {
    "Activation": activation,
    "BlockGrad": passed_through,
    "Dropout": dropout,
    "LeakyReLU": leaky_relu,
    "MakeLoss": passed_through,
    "_contrib_gradientmultiplier": passed_through,
    "_copy": passed_through,
    "hard_sigmoid": hard_sigmoid,
    "make_loss": passed_through,
    "smooth_l1": smooth_l1,
}

"""Operators that treat every element alike, alone or with another tensor or a number."""

from __future__ import annotations

import numpy as np

from neo.contract.tensors import DTYPES
from neo.frontends.mxnet.onnx_graph import Value, element_type
from neo.frontends.mxnet.operation import Converter, Operation

UNARY = {
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "softsign": "Softsign",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "abs": "Abs",
    "negative": "Neg",
    "reciprocal": "Reciprocal",
    "erf": "Erf",
    "floor": "Floor",
    "ceil": "Ceil",
    "sign": "Sign",
    "sin": "Sin",
    "cos": "Cos",
}
# MXNet's name after elemwise_/_ and broadcast_, the ONNX operator
BINARY = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div"}
BROADCAST_ONLY = {"power": "Pow", "maximum": "Max", "minimum": "Min"}
# MXNet's name, the ONNX operator, whether the number comes first
SCALAR = {
    "_plus_scalar": ("Add", False),
    "_minus_scalar": ("Sub", False),
    "_rminus_scalar": ("Sub", True),
    "_mul_scalar": ("Mul", False),
    "_div_scalar": ("Div", False),
    "_rdiv_scalar": ("Div", True),
    "_power_scalar": ("Pow", False),
    "_rpower_scalar": ("Pow", True),
    "_maximum_scalar": ("Max", False),
    "_minimum_scalar": ("Min", False),
}
# how MXNet before 0.9 spelt them
LEGACY_BINARY = {"_Plus": "Add", "_Minus": "Sub", "_Mul": "Mul", "_Div": "Div"}
LEGACY_SCALAR = {
    "_PlusScalar": "_plus_scalar",
    "_MinusScalar": "_minus_scalar",
    "_RMinusScalar": "_rminus_scalar",
    "_MulScalar": "_mul_scalar",
    "_DivScalar": "_div_scalar",
    "_RDivScalar": "_rdiv_scalar",
}


def unary(operator: str) -> Converter:
    return lambda op: op.emit(operator, op.data)


def binary(operator: str) -> Converter:
    return lambda op: op.emit(operator, op.data, op.input(1, "right side"))


def scalar(operator: str, *, number_first: bool) -> Converter:
    def convert(op: Operation) -> Value:
        number = _number(op, "scalar", 1.0)
        return op.emit(operator, number, op.data) if number_first else op.emit(operator, op.data, number)

    return convert


def _number(op: Operation, name: str, default: float | None = None) -> Value:
    """The attribute as a constant of the data's type."""
    number, dtype = op.attributes.number(name, default), np.dtype(op.data.dtype)
    if dtype.kind == "f":
        return op.constant(number, dtype.name)
    if dtype.kind not in "iu" or not number.is_integer() or not np.iinfo(dtype).min <= number <= np.iinfo(dtype).max:
        raise op.unsupported(f"{name}={number} with {dtype}")
    return op.constant(number, dtype.name)


def square(op: Operation) -> Value:
    return op.emit("Mul", op.data, op.data)


def reciprocal_square_root(op: Operation) -> Value:
    return op.emit("Reciprocal", op.emit("Sqrt", op.data))


def clip(op: Operation) -> Value:
    return op.emit("Clip", op.data, _number(op, "a_min"), _number(op, "a_max"))


def add_n(op: Operation) -> Value:
    return op.emit("Sum", op.data, *op.inputs[1:])


def cast(op: Operation) -> Value:
    dtype = op.attributes.choice("dtype", tuple(sorted(DTYPES)))
    return op.emit("Cast", op.data, to=element_type(dtype))


CONVERTERS: dict[str, Converter] = {
    **{name: unary(operator) for name, operator in UNARY.items()},
    **{f"elemwise_{name}": binary(operator) for name, operator in BINARY.items()},
    **{f"broadcast_{name}": binary(operator) for name, operator in (BINARY | BROADCAST_ONLY).items()},
    **{name: binary(operator) for name, operator in LEGACY_BINARY.items()},
    **{name: scalar(operator, number_first=first) for name, (operator, first) in SCALAR.items()},
    **{name: scalar(SCALAR[modern][0], number_first=SCALAR[modern][1]) for name, modern in LEGACY_SCALAR.items()},
    "square": square,
    "rsqrt": reciprocal_square_root,
    "clip": clip,
    "add_n": add_n,
    "ElementWiseSum": add_n,
    "Cast": cast,
    "amp_cast": cast,
}

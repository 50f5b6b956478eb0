"""Operators that treat every element alike, alone or with another tensor or a number."""

from __future__ import annotations

import math

import numpy as np

from neo.contract.tensors import NUMBERS
from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Converter, Operation
from neo.frontends.mxnet.operators.rounding import divided_remainder

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
    "tan": "Tan",
    "sinh": "Sinh",
    "cosh": "Cosh",
    "arcsin": "Asin",
    "arccos": "Acos",
    "arctan": "Atan",
    "arcsinh": "Asinh",
    "arccosh": "Acosh",
    "arctanh": "Atanh",
}
# MXNet's name, and the number that the argument or the result of the ONNX operator is multiplied with
SCALED_RESULT = {"log2": ("Log", 1 / math.log(2.0)), "log10": ("Log", 1 / math.log(10.0))}
FACTORS = {"degrees": 180.0 / math.pi, "radians": math.pi / 180.0}
MIXED = frozenset(["float16", "float32"])
# MXNet's name after elemwise_, _ and broadcast_, the ONNX operator
BINARY = {
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "power": "Pow",
    "maximum": "Max",
    "minimum": "Min",
}
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


def unary(operator: str) -> Converter:
    return lambda op: op.emit(operator, op.data)


def binary(operator: str) -> Converter:
    return lambda op: op.emit(operator, *promoted(op, op.data, op.input(1, "right side")))


def scalar(operator: str, *, number_first: bool) -> Converter:
    def convert(op: Operation) -> Value:
        x, number = number_like(op, "scalar", 1.0)
        return op.emit(operator, number, x) if number_first else op.emit(operator, x, number)

    return convert


def promoted(op: Operation, left: Value, right: Value) -> tuple[Value, Value]:
    """Both in one type: numpy's names take a float and a whole number together, the older ones do not."""
    if not op.numpy or left.dtype == right.dtype:
        return left, right
    kinds = np.dtype(left.dtype).kind, np.dtype(right.dtype).kind
    if "f" in kinds and kinds != ("f", "f"):
        wanted = left.dtype if kinds[0] == "f" else right.dtype
    else:
        wanted = np.promote_types(left.dtype, right.dtype).name
    return op.cast(left, wanted), op.cast(right, wanted)


def number_like(op: Operation, name: str, default: float | None = None) -> tuple[Value, Value]:
    """The data, and the attribute as a constant of its type.

    In numpy's operators a fraction makes floats of whole numbers, as it does in numpy.
    """
    number, data = op.attributes.number(name, default), op.data
    dtype = np.dtype(data.dtype)
    if op.numpy and dtype.kind != "f" and not op.attributes.boolean("is_int", default=True):
        data, dtype = op.cast(data, "float64"), np.dtype("float64")
    if dtype.kind == "f":
        return data, op.constant(number, dtype.name)
    if dtype.kind not in "iu" or not number.is_integer() or not np.iinfo(dtype).min <= number <= np.iinfo(dtype).max:
        raise op.unsupported(f"{name}={number} with {dtype}")
    return data, op.constant(int(number), dtype.name)


def _times(op: Operation, value: Value, factor: float) -> Value:
    return op.emit("Mul", value, op.constant(factor, value.dtype))


def scaled(operator: str, factor: float) -> Converter:
    return lambda op: _times(op, op.emit(operator, op.data), factor)


def multiplied(factor: float) -> Converter:
    return lambda op: _times(op, op.data, factor)


def square(op: Operation) -> Value:
    return op.emit("Mul", op.data, op.data)


def reciprocal_square_root(op: Operation) -> Value:
    return op.emit("Reciprocal", op.emit("Sqrt", op.data))


def cube_root(op: Operation) -> Value:
    """ONNX's power takes no negative base to a fraction."""
    size = op.emit("Pow", op.emit("Abs", op.data), op.constant(1.0 / 3.0, op.data.dtype))
    return op.emit("Mul", op.emit("Sign", op.data), size)


def reciprocal_cube_root(op: Operation) -> Value:
    return op.emit("Reciprocal", cube_root(op))


def exp_minus_one(op: Operation) -> Value:
    return op.emit("Sub", op.emit("Exp", op.data), op.constant(1.0, op.data.dtype))


def log_one_plus(op: Operation) -> Value:
    return op.emit("Log", op.emit("Add", op.data, op.constant(1.0, op.data.dtype)))


def hypotenuse(op: Operation) -> Value:
    left, right = promoted(op, op.data, op.input(1, "right side"))
    return op.emit("Sqrt", op.emit("Add", op.emit("Mul", left, left), op.emit("Mul", right, right)))


def hypotenuse_scalar(op: Operation) -> Value:
    x, number = number_like(op, "scalar", 1.0)
    return op.emit("Sqrt", op.emit("Add", op.emit("Mul", x, x), op.emit("Mul", number, number)))


def modulo(op: Operation) -> Value:
    return divided_remainder(op, *promoted(op, op.data, op.input(1, "right side")))


def modulo_scalar(op: Operation) -> Value:
    return divided_remainder(op, *number_like(op, "scalar", 1.0))


def modulo_of_scalar(op: Operation) -> Value:
    x, number = number_like(op, "scalar", 1.0)
    return divided_remainder(op, number, x)


def clip(op: Operation) -> Value:
    return op.emit("Clip", op.data, number_like(op, "a_min")[1], number_like(op, "a_max")[1])


def add_n(op: Operation) -> Value:
    return op.emit("Sum", op.data, *op.inputs[1:])


def cast(op: Operation) -> Value:
    return op.cast(op.data, op.attributes.choice("dtype", tuple(sorted(NUMBERS))))


def mixed_precision_cast(op: Operation) -> Value:
    """Only between the types that training in mixed precision mixes."""
    return cast(op) if op.data.dtype in MIXED else op.data


def cast_alike(op: Operation) -> tuple[Value, ...]:
    """The inputs of mixed precision in the wider of their types, or in the narrower."""
    wide = any(value.dtype == "float32" for value in op.inputs)
    narrow = any(value.dtype == "float16" for value in op.inputs)
    if op.attributes.boolean("cast_narrow", default=False):
        wide = not narrow
    wanted = "float32" if wide else "float16"
    return tuple(op.cast(value, wanted) if value.dtype in MIXED else value for value in op.inputs)


def quadratic(op: Operation) -> Value:
    """A x^2 + b x + c"""
    x = op.data
    a, b, c = (op.constant(op.attributes.number(name, 0.0), x.dtype) for name in ("a", "b", "c"))
    return op.emit("Add", op.emit("Mul", op.emit("Add", op.emit("Mul", a, x), b), x), c)


CONVERTERS: dict[str, Converter] = {
    **{name: unary(operator) for name, operator in UNARY.items()},
    **{name: scaled(operator, factor) for name, (operator, factor) in SCALED_RESULT.items()},
    **{name: multiplied(factor) for name, factor in FACTORS.items()},
    **{f"elemwise_{name}": binary(BINARY[name]) for name in ("add", "sub", "mul", "div")},
    **{f"broadcast_{name}": binary(operator) for name, operator in BINARY.items()},
    **{f"_{name}": binary(BINARY[name]) for name in ("power", "maximum", "minimum")},
    **{name: scalar(operator, number_first=first) for name, (operator, first) in SCALAR.items()},
    "Cast": cast,
    "_contrib_quadratic": quadratic,
    "_hypot": hypotenuse,
    "_hypot_scalar": hypotenuse_scalar,
    "_mod": modulo,
    "_mod_scalar": modulo_scalar,
    "_rmod_scalar": modulo_of_scalar,
    "add_n": add_n,
    "amp_cast": mixed_precision_cast,
    "amp_multicast": cast_alike,
    "broadcast_hypot": hypotenuse,
    "broadcast_mod": modulo,
    "cbrt": cube_root,
    "clip": clip,
    "expm1": exp_minus_one,
    "log1p": log_one_plus,
    "rcbrt": reciprocal_cube_root,
    "rsqrt": reciprocal_square_root,
    "square": square,
}

"""The operators that a model written with mxnet.np and mxnet.npx has: numpy's names and numpy's rules.

Comparisons give bool, whole numbers divide into fractions, and a sum over all axes has no dimensions.
"""

from __future__ import annotations

import numpy as np

from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Converter, Operation
from neo.frontends.mxnet.operators import (
    comparison,
    creation,
    dense,
    elementwise,
    expansion,
    indexing,
    masks,
    ordering,
    reduction,
    rounding,
    shape,
)
from neo.frontends.mxnet.operators.reshape_codes import NUMPY_CODES, reshaped

BINARY = {"add": "Add", "subtract": "Sub", "multiply": "Mul", "power": "Pow"}
COMPARISONS = {"less": "lesser", "less_equal": "lesser_equal"}
UNARY = [
    *("arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctanh", "cbrt", "cos", "cosh", "degrees", "exp", "expm1"),
    *("log", "log10", "log1p", "log2", "radians", "reciprocal", "sin", "sinh", "sqrt", "tan", "tanh"),
]


def _in_floats(op: Operation) -> Operation:
    """The operation with whole numbers made floats, as numpy does before it takes a root."""
    if np.dtype(op.data.dtype).kind == "f":
        return op
    return op.with_data(op.cast(op.data, "float32"))


def in_floats(convert: Converter) -> Converter:
    return lambda op: convert(_in_floats(op))


def true_divide(op: Operation) -> Value:
    left, right = elementwise.promoted(op, op.data, op.input(1, "right side"))
    if np.dtype(left.dtype).kind != "f":
        left, right = op.cast(left, "float32"), op.cast(right, "float32")
    return op.emit("Div", left, right)


def reshape(op: Operation) -> Value:
    """Numpy's own: whole numbers and one -1."""
    wanted = op.attributes.integers("newshape")
    if op.attributes.text("order", "C") != "C" or any(dim < -1 for dim in wanted):
        raise op.unsupported(f"newshape={wanted}, order={op.attributes.text('order', 'C')}")
    return shape.reshape_to(op, wanted)


def reshape_with_codes(op: Operation) -> Value:
    wanted, codes = op.attributes.integers("newshape"), []
    previous: list[int] = []
    for number in wanted:
        # the two numbers after -6 are sizes
        is_size = -6 in previous[-2:] and number != -6
        codes.append(number if is_size or number > 0 else NUMPY_CODES.get(number, number - 100))
        previous.append(number)
    reverse = op.attributes.boolean("reverse", default=False)
    return shape.reshape_to(op, reshaped(op.data.shape, codes, reverse=reverse, where=op.where))


def concatenate(op: Operation) -> Value:
    """axis=None joins all elements in one row."""
    if "axis" in op.attributes.texts and not op.attributes.has("axis"):
        return op.emit("Concat", *(op.reshape(value, (-1,)) for value in op.inputs), axis=0)
    return shape.concatenated(op, op.attributes.integer("axis", op.attributes.integer("dim", 0)))


def vertically_stacked(op: Operation) -> Value:
    """A vector is a row."""
    rows = (op.emit("Unsqueeze", value, op.constant([0])) if value.rank == 1 else value for value in op.inputs)
    return op.emit("Concat", *rows, axis=0)


def matmul(op: Operation) -> Value:
    return op.emit("MatMul", op.data, op.input(1, "b"))


def dot(op: Operation) -> Value:
    """The last axis of a with the last but one of b."""
    left, right = op.data, op.input(1, "b")
    if right.rank < 3 or left.rank == 0:
        return dense.dot(op)
    return dense.dot(op.with_inputs(left, op.moved(right, right.rank - 2, 0)))


def tensordot(op: Operation) -> Value:
    """Over as many of the last axes of a and first of b as is said."""
    left, right, count = op.data, op.input(1, "b"), op.attributes.integer("axes")
    if not 0 < count <= min(left.rank, right.rank):
        raise op.unsupported(f"axes={count} of {left} and {right}")
    kept = op.sizes(left)[:-count] + op.sizes(right)[count:]
    summed = int(np.prod(op.sizes(left)[-count:]))
    product = op.emit("MatMul", op.reshape(left, (-1, summed)), op.reshape(right, (summed, -1)))
    return op.reshape(product, kept)


def einsum(op: Operation) -> Value:
    return op.emit("Einsum", *op.inputs, equation=op.attributes.text("subscripts"))


def move_axis(op: Operation) -> Value:
    rank = op.data.rank
    source, target = (
        [op.axis(axis, rank) for axis in op.attributes.integers(name)] for name in ("source", "destination")
    )
    if len(source) != len(target) or len(set(source)) != len(source) or len(set(target)) != len(target):
        raise op.unsupported(f"source={source}, destination={target}")
    order = [axis for axis in range(rank) if axis not in source]
    for to, axis in sorted(zip(target, source, strict=True)):
        order.insert(to, axis)
    return op.transposed(op.data, order)


def transpose(op: Operation) -> Value:
    return shape.transpose(op) if op.data.rank else op.data


def pad(op: Operation) -> Value:
    mode = op.attributes.choice("mode", ("constant", "edge", "reflect"), "constant")
    widths = op.attributes.integers_of_tuples("pad_width")
    if len(widths) in {1, 2} and op.data.rank > 1:
        widths = widths * (2 * op.data.rank // len(widths))
    if op.attributes.text("reflect_type", "even") != "even":
        raise op.unsupported("reflect_type other than even")
    return shape.padded(op, widths, mode)


def choose(op: Operation) -> Value:
    """Where between a tensor and a number."""
    x, number = elementwise.number_like(op.with_inputs(op.input(1, "x"), op.data), "scalar", 0.0)
    parts = (number, x) if op.operator == "_npi_where_lscalar" else (x, number)
    return op.emit("Where", op.cast(op.data, "bool"), *parts)


def squeeze(op: Operation) -> Value:
    if op.attributes.has("axis") and not op.attributes.integers("axis"):
        return op.data
    return shape.squeeze(op)


def around(op: Operation) -> Value:
    """Halves go to the even neighbour."""
    if op.attributes.integer("decimals", 0):
        raise op.unsupported(f"decimals={op.attributes.integer('decimals', 0)}")
    return op.emit("Round", op.data)


def is_infinite(op: Operation) -> Value:
    return op.emit("IsInf", op.data)


def is_finite(op: Operation) -> Value:
    return op.emit("Not", op.emit("Or", op.emit("IsNaN", op.data), op.emit("IsInf", op.data)))


def logical_not(op: Operation) -> Value:
    return op.emit("Not", op.cast(op.data, "bool"))


def mean(op: Operation) -> Value:
    return reduction.averaged(_in_floats(op))


def full_axis_reduction(operator: str) -> Converter:
    """Numpy's sum, product, max and min; a starting value is not converted."""

    def convert(op: Operation) -> Value | tuple[Value, ...]:
        if op.attributes.has("initial"):
            raise op.unsupported(f"initial={op.attributes.text('initial')}")
        if op.data.rank == 0:
            return op.data
        return reduction.reduce(operator)(op)

    return convert


CONVERTERS: dict[str, Converter] = {
    **{f"_npi_{name}": elementwise.binary(operator) for name, operator in BINARY.items()},
    **{f"_npi_{name}_scalar": elementwise.scalar(operator, number_first=False) for name, operator in BINARY.items()},
    **{f"_npi_{name}": elementwise.CONVERTERS[name] for name in UNARY},
    **{
        f"_npi_{name}{suffix}": make(COMPARISONS.get(name, name), as_bool=True)
        for name in ("equal", "not_equal", "greater", "greater_equal", "less", "less_equal")
        for suffix, make in (("", comparison.compare), ("_scalar", comparison.compare_scalar))
    },
    **{f"_npi_{name}": rounding.truncate for name in ("fix", "trunc")},
    "_np_sum": full_axis_reduction("ReduceSum"),
    "_np_prod": full_axis_reduction("ReduceProd"),
    "_np_max": full_axis_reduction("ReduceMax"),
    "_np_min": full_axis_reduction("ReduceMin"),
    **dict.fromkeys(("_np_copy", "_npi_copy"), masks.passed_through),
    **dict.fromkeys(("_np_moveaxis", "_npi_moveaxis"), move_axis),
    **dict.fromkeys(("_np_squeeze", "_npi_squeeze"), squeeze),
    **dict.fromkeys(("_np_transpose", "_npi_transpose"), transpose),
    **dict.fromkeys(("_np_dot", "_npi_dot"), dot),
    "_np_all": reduction.truth("ReduceMin"),
    "_np_any": reduction.truth("ReduceMax"),
    "_np_reshape": reshape,
    "_npi_absolute": elementwise.unary("Abs"),
    "_npi_arange": creation.arange,
    "_npi_argmax": ordering.extreme("ArgMax", "int64"),
    "_npi_argmin": ordering.extreme("ArgMin", "int64"),
    "_npi_around": around,
    "_npi_broadcast_to": expansion.broadcast_to,
    "_npi_ceil": elementwise.unary("Ceil"),
    "_npi_concatenate": concatenate,
    "_npi_einsum": einsum,
    "_npi_eye": creation.eye,
    "_npi_flip": indexing.flip,
    "_npi_floor": elementwise.unary("Floor"),
    "_npi_full_like": creation.full_like,
    "_npi_hypot": elementwise.hypotenuse,
    "_npi_identity": creation.identity_matrix,
    "_npi_isfinite": is_finite,
    "_npi_isinf": is_infinite,
    "_npi_isnan": elementwise.unary("IsNaN"),
    "_npi_logical_not": logical_not,
    "_npi_matmul": matmul,
    "_npi_mean": mean,
    "_npi_mod": elementwise.modulo,
    "_npi_mod_scalar": elementwise.modulo_scalar,
    "_npi_negative": elementwise.unary("Neg"),
    "_npi_ones": creation.filled(1.0),
    "_npi_pad": pad,
    "_npi_rint": rounding.round_half_down,
    "_npi_rmod_scalar": elementwise.modulo_of_scalar,
    "_npi_rpower_scalar": elementwise.scalar("Pow", number_first=True),
    "_npi_rsubtract_scalar": elementwise.scalar("Sub", number_first=True),
    "_npi_rtrue_divide_scalar": in_floats(elementwise.scalar("Div", number_first=True)),
    "_npi_sign": elementwise.unary("Sign"),
    "_npi_square": elementwise.square,
    "_npi_stack": shape.stack,
    "_npi_std": reduction.spread(root=True),
    "_npi_tensordot_int_axes": tensordot,
    "_npi_true_divide": true_divide,
    "_npi_true_divide_scalar": in_floats(elementwise.scalar("Div", number_first=False)),
    "_npi_var": reduction.spread(root=False),
    "_npi_vstack": vertically_stacked,
    "_npi_where": comparison.where,
    "_npi_where_lscalar": choose,
    "_npi_where_rscalar": choose,
    "_npi_zeros": creation.filled(0.0),
    "_npx_relu": elementwise.unary("Relu"),
    "_npx_reshape": reshape_with_codes,
    "_npx_sigmoid": elementwise.unary("Sigmoid"),
}

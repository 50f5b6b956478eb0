"""Comparisons, logic and choice between two tensors.

MXNet's older operators answer with 0 and 1 of their first input's type, those of numpy's names with bool.
"""

from __future__ import annotations

from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Converter, Operation
from neo.frontends.mxnet.operators.elementwise import number_like, promoted

# MXNet's name, the ONNX operator, whether it is negated
COMPARISONS = {
    "equal": ("Equal", False),
    "not_equal": ("Equal", True),
    "greater": ("Greater", False),
    "greater_equal": ("GreaterOrEqual", False),
    "lesser": ("Less", False),
    "lesser_equal": ("LessOrEqual", False),
}
LOGIC = {"and": "And", "or": "Or", "xor": "Xor"}
# what ONNX compares other than for equality; the rest is cast
UNORDERED = frozenset(["bool"])


def _compare(op: Operation, left: Value, right: Value, comparison: str) -> Value:
    operator, negated = COMPARISONS[comparison]
    if left.dtype in UNORDERED:
        left, right = op.cast(left, "int32"), op.cast(right, "int32")
    result = op.emit(operator, left, right)
    return op.emit("Not", result) if negated else result


def compare(comparison: str, *, as_bool: bool = False) -> Converter:
    def convert(op: Operation) -> Value:
        left, right = promoted(op, op.data, op.input(1, "right side"))
        result = _compare(op, left, right, comparison)
        return result if as_bool else op.cast(result, op.data.dtype)

    return convert


def compare_scalar(comparison: str, *, as_bool: bool = False) -> Converter:
    def convert(op: Operation) -> Value:
        result = _compare(op, *number_like(op, "scalar", 1.0), comparison)
        return result if as_bool else op.cast(result, op.data.dtype)

    return convert


def combine(operator: str) -> Converter:
    def convert(op: Operation) -> Value:
        result = op.emit(operator, op.cast(op.data, "bool"), op.cast(op.input(1, "right side"), "bool"))
        return op.cast(result, op.data.dtype)

    return convert


def combine_scalar(operator: str) -> Converter:
    def convert(op: Operation) -> Value:
        truth = op.constant(op.attributes.number("scalar", 1.0) != 0.0, "bool")
        return op.cast(op.emit(operator, op.cast(op.data, "bool"), truth), op.data.dtype)

    return convert


def logical_not(op: Operation) -> Value:
    return op.cast(op.emit("Not", op.cast(op.data, "bool")), op.data.dtype)


def where(op: Operation) -> Value:
    """A condition of one dimension chooses whole rows."""
    condition = op.cast(op.data, "bool")
    left, right = promoted(op, op.input(1, "x"), op.input(2, "y"))
    if condition.rank == 1 and left.rank > 1 and not op.numpy:
        condition = op.reshape(condition, (-1,) + (1,) * (left.rank - 1))
    return op.emit("Where", condition, left, right)


CONVERTERS: dict[str, Converter] = {
    **{f"_{name}": compare(name) for name in COMPARISONS},
    **{f"broadcast_{name}": compare(name) for name in COMPARISONS},
    **{f"_{name}_scalar": compare_scalar(name) for name in COMPARISONS},
    **{f"_logical_{name}": combine(operator) for name, operator in LOGIC.items()},
    **{f"broadcast_logical_{name}": combine(operator) for name, operator in LOGIC.items()},
    **{f"_logical_{name}_scalar": combine_scalar(operator) for name, operator in LOGIC.items()},
    "logical_not": logical_not,
    "where": where,
}

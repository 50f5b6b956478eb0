"""Inputs with values that random samples do not have: zeros, NaN, infinities, extremes, equal values.

They reveal faults of a conversion or an engine that ordinary numbers do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from neo.contract.tensors import TensorSpec
from neo.frontends.base import Arrays
from neo.onnx_tools.walk import model_nodes

ZEROS = "zeros"
REPEATED = "repeated values"
SMALLEST = "the smallest numbers"
LARGEST = "the largest numbers"
BOUNDARIES = "boundary values"
INFINITE = "infinities"
NAN = "NaN"
SOME_NAN = "NaN among numbers"
FINITE = frozenset([ZEROS, REPEATED, SMALLEST, LARGEST, BOUNDARIES])

# these choose between values; no framework promises which of several equal ones
_CHOOSE = frozenset(["TopK", "NonMaxSuppression"])
# these add up: whether sums of the largest numbers overflow depends on the order of summation, which engines may choose
_SUM = frozenset(
    [
        *("Conv", "ConvTranspose", "MatMul", "Gemm", "Einsum", "AveragePool", "GlobalAveragePool", "LpPool"),
        *("ReduceSum", "ReduceMean", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp", "CumSum", "Sum"),
        *("LSTM", "GRU", "RNN", "Attention", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "Mean"),
        *("LayerNormalization", "InstanceNormalization", "GroupNormalization", "BatchNormalization", "Resize", "STFT"),
        *("RMSNormalization", "LpNormalization", "MeanVarianceNormalization", "LRN", "DFT", "GridSample", "Det"),
        *("FusedConv", "FusedMatMul", "FusedGemm", "Add", "Sub", "Mul", "Softmax", "LogSoftmax"),
    ]
)
# Winograd convolutions mix neighbouring pixels, so a NaN spreads to more outputs than the definition says
_WINDOWS = frozenset(["Conv", "ConvTranspose", "FusedConv", "QLinearConv"])


def special_inputs(
    model: onnx.ModelProto, base: Arrays, inputs: Iterable[TensorSpec], outputs: Iterable[TensorSpec], seed: int
) -> Iterator[tuple[str, Arrays]]:
    """(kind, inputs): copies of base, an ordinary sample, with other floats and 8-bit integers (pixels).

    Other integers (indices, lengths), strings (words) and scalars (parameters) stay. Yields nothing for a model whose
    values determine the size of its tensors or the number of its iterations: it could fill memory or never end.
    """
    specs = tuple(inputs)
    operators = {node.op_type for node in model_nodes(model)}
    given = {dim for spec in specs for dim in spec.dynamic_dims}
    if "Loop" in operators or any(dim not in given for spec in outputs for dim in spec.dynamic_dims):
        return
    for kind, fill in _FILL.items():
        if kind == SOME_NAN and operators & _WINDOWS:
            continue
        rng = np.random.default_rng([seed, *kind.encode()])
        changed = {
            spec.name: array for spec in specs if spec.shape and (array := fill(base[spec.name], rng)) is not None
        }
        if changed:
            yield kind, {**base, **changed}


def has_one_answer(kind: str, model: onnx.ModelProto) -> bool:
    """Does the model's definition determine the answer for this kind? Not if the model chooses between equal values.
    Sums of the largest numbers are equal values too: infinity.
    """
    return kind not in {ZEROS, SMALLEST, REPEATED, LARGEST} or all(
        node.op_type not in _CHOOSE for node in model_nodes(model)
    )


def decides_between_engines(kind: str, model: onnx.ModelProto) -> bool:
    """Is an engine wrong if its answers for this kind differ?"""
    return kind != LARGEST or not any(node.op_type in _SUM for node in model_nodes(model))


Fill = Callable[[NDArray[Any], np.random.Generator], NDArray[Any] | None]


def _of(floats: Callable[[Any], tuple[float, ...]], bytes_: Callable[[Any], tuple[int, ...]] = lambda _: ()) -> Fill:
    """Fills with values that are chosen at random. floats, bytes_: numpy's finfo or iinfo of the dtype -> the
    values.
    """

    def fill(array: NDArray[Any], rng: np.random.Generator) -> NDArray[Any] | None:
        values: tuple[float, ...] = ()
        if array.dtype.kind == "f":
            values = floats(np.finfo(array.dtype))
        elif array.dtype.kind in "iu" and array.dtype.itemsize == 1:
            values = bytes_(np.iinfo(array.dtype))
        if not values or not array.size:
            return None
        return np.array(values, array.dtype)[rng.integers(0, len(values), array.shape)]

    return fill


def _some_nan(array: NDArray[Any], rng: np.random.Generator) -> NDArray[Any] | None:
    if array.dtype.kind != "f" or array.size < 2:
        return None
    hit = rng.random(array.shape) < 0.5
    hit.flat[rng.integers(array.size)] = True
    return np.where(hit, np.array(np.nan, array.dtype), array)


def smallest(info: Any) -> tuple[float, ...]:
    """The smallest numbers of both signs, denormal ones and zero included."""
    tiny, denormal = float(info.tiny), float(info.smallest_subnormal)
    return (tiny, -tiny, denormal, -denormal, -0.0)


def _largest(info: Any) -> tuple[float, ...]:
    # a power of two does not overflow in a type with the same exponent range and fewer digits, such as bfloat16
    power = float(np.ldexp(1.0, info.maxexp - 1))
    return (power, -power)


_FILL: Mapping[str, Fill] = {
    ZEROS: _of(lambda _: (0.0,), lambda _: (0,)),
    REPEATED: _of(lambda _: (-1.0, 0.0, 1.0), lambda info: (int(info.min), int(info.max))),
    SMALLEST: _of(smallest),
    LARGEST: _of(_largest, lambda info: (int(info.max),)),
    INFINITE: _of(lambda _: (np.inf, -np.inf)),
    NAN: _of(lambda _: (np.nan,)),
    SOME_NAN: _some_nan,
}

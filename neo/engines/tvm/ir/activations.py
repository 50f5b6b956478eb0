"""Scalar activation functions as TensorIR expressions, for loops that we write ourselves.

Source: the formulas of ONNX's RNN, GRU and LSTM operators. tanh and erf are Eigen's rational approximations (ptanh,
perf), accurate to a few units in the last place of float32. NaN stays NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm import tirx

from neo.engines.tvm.ir.extremes import Scalar, larger, smaller

# for larger x, tanh(x) is 1 in float32
_TANH_LIMIT = 7.90531110763549805
# coefficients of x**13, x**11, ..., x in the numerator and of x**6, x**4, x**2, 1 in the denominator
_TANH_NUMERATOR = (
    -2.76076847742355e-16,
    2.00018790482477e-13,
    -8.60467152213735e-11,
    5.12229709037114e-08,
    1.48572235717979e-05,
    6.37261928875436e-04,
    4.89352455891786e-03,
)
_TANH_DENOMINATOR = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)

# for larger x, erf(x) is 1 in float32
_ERF_LIMIT = 4.0
# coefficients of x**13, x**11, ..., x in the numerator and of x**8, x**6, ..., 1 in the denominator
_ERF_NUMERATOR = (
    -2.72614225801306e-10,
    2.77068142495902e-08,
    -2.10102402082508e-06,
    -5.69250639462346e-05,
    -7.34990630326855e-04,
    -2.95459980854025e-03,
    -1.60960333262415e-02,
)
_ERF_DENOMINATOR = (
    -1.45660718464996e-05,
    -2.13374055278905e-04,
    -1.68282697438203e-03,
    -7.37332916720468e-03,
    -1.42647390514189e-02,
)


@dataclass(frozen=True, slots=True)
class Activation:
    """An activation function with its parameters."""

    #: a key of ACTIVATIONS
    name: str
    #: ignored if the function has no such parameter, as is beta
    alpha: float = 0.0
    beta: float = 0.0

    def __call__(self, x: Scalar) -> Scalar:
        return ACTIVATIONS[self.name].expression(x, number(self.alpha), number(self.beta))


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of activation function."""

    #: (x, alpha, beta) -> the function's value
    expression: Callable[[Scalar, Scalar, Scalar], Scalar]
    #: default value; None if the function has no such parameter. Likewise beta
    alpha: float | None = None
    beta: float | None = None


def number(value: float) -> Scalar:
    return tirx.const(value, "float32")


def tanh(x: Scalar) -> Scalar:
    x = clamp(x, _TANH_LIMIT)
    square = x * x
    return x * _polynomial(square, _TANH_NUMERATOR) / _polynomial(square, _TANH_DENOMINATOR)


def erf(x: Scalar) -> Scalar:
    x = clamp(x, _ERF_LIMIT)
    square = x * x
    return x * _polynomial(square, _ERF_NUMERATOR) / _polynomial(square, _ERF_DENOMINATOR)


def sigmoid(x: Scalar) -> Scalar:
    """(1 + tanh(x / 2)) / 2: one polynomial less to evaluate than with exp."""
    half = number(0.5)
    return half * tanh(half * x) + half


def clamp(x: Scalar, limit: float) -> Scalar:
    """Limit x to [-limit, limit]. NaN stays NaN: of it and a bound, ``tirx.max`` and ``tirx.min`` return the second.

    ``larger`` and ``smaller`` would do too, but they are calls, and TVM would evaluate the clamp again for every power
    of x.
    """
    return tirx.max(number(-limit), tirx.min(number(limit), x))


def _polynomial(x: Scalar, coefficients: Sequence[float]) -> Scalar:
    """Horner's scheme; the coefficient of the highest power comes first."""
    total = number(coefficients[0])
    for coefficient in coefficients[1:]:
        total = total * x + number(coefficient)
    return total


def _absolute(x: Scalar) -> Scalar:
    return tirx.max(x, -x)


_ZERO, _ONE = 0.0, 1.0

ACTIVATIONS = {
    "Affine": Kind(lambda x, a, b: a * x + b, alpha=1.0, beta=0.0),
    "Elu": Kind(lambda x, a, _: tirx.Select(x >= number(0), x, a * (tirx.exp(x) - number(1))), alpha=1.0),
    "HardSigmoid": Kind(lambda x, a, b: larger(smaller(a * x + b, number(_ONE)), number(_ZERO)), alpha=0.2, beta=0.5),
    "LeakyRelu": Kind(lambda x, a, _: tirx.Select(x >= number(0), x, a * x), alpha=0.01),
    "Relu": Kind(lambda x, _a, _b: larger(x, number(_ZERO))),
    "ScaledTanh": Kind(lambda x, a, b: a * tanh(b * x), alpha=1.0, beta=1.0),
    "Sigmoid": Kind(lambda x, _a, _b: sigmoid(x)),
    "Softsign": Kind(lambda x, _a, _b: x / (number(_ONE) + _absolute(x))),
    "Tanh": Kind(lambda x, _a, _b: tanh(x)),
    "ThresholdedRelu": Kind(lambda x, a, _: tirx.Select(x >= a, x, number(_ZERO)), alpha=1.0),
}

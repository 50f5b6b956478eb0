"""ONNX operators that we convert to Relax ourselves: TVM's own converters are slow, wrong for NaN, or do not compile.

A converter is a class with ``_impl_v<opset>`` methods, as in ``tvm.relax.frontend.onnx.onnx_frontend``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tvm import relax
from tvm.relax.frontend.onnx import onnx_frontend

from neo.engines.tvm.importing.einsum import Summation
from neo.engines.tvm.importing.recurrent import Gru, Lstm, Rnn
from neo.engines.tvm.importing.refusal import Refused
from neo.engines.tvm.importing.transposed import TransposedConvolution
from neo.engines.tvm.ir.constants import constant_of
from neo.engines.tvm.tvm_private import PadConverter

# ONNX's names -> Relax's
PAD_MODES = {"constant": "constant", "edge": "replicate", "reflect": "reflect", "wrap": "circular"}


class Clip(onnx_frontend.Clip):  # type: ignore[misc]  # tvm has no types
    """Written with minimum and maximum, which have rules for layouts and propagate NaN."""

    @classmethod
    def _impl_v1(cls, bb: Any, inputs: Sequence[Any], attr: Any, params: Any) -> Any:
        x = bb.normalize(inputs[0])
        bounds = (relax.const(float(attr[name]), x.ty.dtype) if name in attr else None for name in ("min", "max"))
        return cls._impl_v13(bb, [x, *bounds], attr, params)

    @classmethod
    def _impl_v13(cls, bb: Any, inputs: Sequence[Any], attr: Any, params: Any) -> Any:
        x = bb.normalize(inputs[0])
        low, high = (_bound(bb, given, x, sign) for given, sign in zip(inputs[1:3], (-1, 1), strict=True))
        x = x if low is None else bb.normalize(relax.op.maximum(x, low))
        return x if high is None else relax.op.minimum(x, high)


class HardSigmoid(onnx_frontend.HardSigmoid):  # type: ignore[misc]
    @classmethod
    def _impl_v1(cls, bb: Any, inputs: Sequence[Any], attr: Any, params: Any) -> Any:
        return hard_sigmoid(bb.normalize(inputs[0]), float(attr.get("alpha", 0.2)), float(attr.get("beta", 0.5)))


class HardSwish(onnx_frontend.HardSwish):  # type: ignore[misc]
    """x * max(0, min(1, x / 6 + 1 / 2)), as the ONNX specification has it."""

    @classmethod
    def _impl_v14(cls, bb: Any, inputs: Sequence[Any], attr: Any, params: Any) -> Any:
        x = bb.normalize(inputs[0])
        return relax.op.multiply(x, hard_sigmoid(x, 1 / 6, 0.5))


class ConvTranspose(onnx_frontend.ConvTranspose):  # type: ignore[misc]
    """A convolution that computes all phases of the stride as further channels, followed by a depth-to-space step.
    Nothing is multiplied by inserted zeros, and the schedules for convolutions apply.

    Source: Shi et al., "Is the deconvolution layer the same as a convolutional layer?", 2016.
    """

    @classmethod
    def _impl_v1(cls, bb: Any, inputs: Sequence[Any], attr: Any, params: Any) -> Any:
        transposed = TransposedConvolution.of(bb, inputs, attr)
        if transposed is None:
            return super()._impl_v1(bb, inputs, attr, params)
        return transposed.build(bb)


class BitShift(onnx_frontend.BitShift):  # type: ignore[misc]
    """Shifting by a negative amount, or by the width of the type or more, shifts out every bit: the result is 0, or -1
    for a negative number that is shifted right. Machine instructions treat such amounts differently on each processor.
    So the amount is limited to the width and applied in two steps, first up to width - 1 bits and then at most one
    more.
    """

    @classmethod
    def _impl_v11(cls, bb: Any, inputs: Sequence[Any], attr: Any, params: Any) -> Any:
        x, amount = (bb.normalize(value) for value in inputs)
        dtype = str(x.ty.dtype)
        bits = np.dtype(dtype).itemsize * 8
        last, one = (relax.const(number, f"uint{bits}") for number in (bits - 1, 1))
        # as unsigned numbers, negative amounts are large
        unsigned = relax.op.astype(amount, f"uint{bits}")
        first = relax.op.minimum(unsigned, last)
        for step in (first, relax.op.minimum(relax.op.subtract(unsigned, first), one)):
            x = super()._impl_v11(bb, [bb.normalize(x), bb.normalize(relax.op.astype(step, dtype))], attr, params)
        return x


class ThresholdedRelu(onnx_frontend.ThresholdedRelu):  # type: ignore[misc]
    """x if it is above alpha, else 0; not x * 0, which is NaN for infinities."""

    @classmethod
    def _impl_v1(cls, bb: Any, inputs: Sequence[Any], attr: Any, params: Any) -> Any:
        x = bb.normalize(inputs[0])
        alpha, zero = (relax.const(value, x.ty.dtype) for value in (float(attr.get("alpha", 1.0)), 0.0))
        return relax.op.where(relax.op.greater(x, alpha), x, zero)


class ReduceLogSumExp(onnx_frontend.ReduceLogSumExp):  # type: ignore[misc]
    """log(sum(exp(x - m))) + m with the largest element as m, so that exp does not overflow. If that is infinite, m is
    0, because inf - inf is NaN.
    """

    @classmethod
    def _impl_v13(cls, bb: Any, inputs: Sequence[Any], attr: Any, _params: Any) -> Any:
        return cls._reduced(bb, inputs[0], attr.get("axes"), attr)

    @classmethod
    def _impl_v18(cls, bb: Any, inputs: Sequence[Any], attr: Any, _params: Any) -> Any:
        axes = constant_of(inputs[1]) if len(inputs) > 1 and inputs[1] is not None else np.zeros(0, np.int64)
        if axes is None:
            raise Refused("its axes are computed, not constant")
        if not axes.size and attr.get("noop_with_empty_axes"):
            return inputs[0]
        return cls._reduced(bb, inputs[0], axes.tolist() or None, attr)

    @classmethod
    def _reduced(cls, bb: Any, x: Any, axes: Sequence[int] | None, attr: Any) -> Any:
        x = bb.normalize(x)
        largest = bb.normalize(relax.op.max(x, axes, keepdims=True))
        zero = relax.const(0, x.ty.dtype)
        shift = bb.normalize(relax.op.where(relax.op.isinf(largest), zero, largest))
        powers = relax.op.sum(relax.op.exp(relax.op.subtract(x, shift)), axes, keepdims=True)
        result = bb.normalize(relax.op.add(relax.op.log(powers), shift))
        return result if attr.get("keepdims", 1) else relax.op.squeeze(result, axes)


class _Fold(onnx_frontend.OnnxOpConverter):  # type: ignore[misc]
    """A variadic operator, applied to two inputs at a time. TVM's converter stacks them, which does not compile."""

    binary = staticmethod(relax.op.add)

    @classmethod
    def _impl_v1(cls, _bb: Any, inputs: Sequence[Any], _attr: Any, _params: Any) -> Any:
        return functools.reduce(cls.binary, inputs)


class Sum(_Fold):
    """a + b + ..."""


class Max(_Fold):
    """Elementwise maximum."""

    binary = staticmethod(relax.op.maximum)


class Min(_Fold):
    """Elementwise minimum."""

    binary = staticmethod(relax.op.minimum)


class Mean(_Fold):
    """(a + b + ...) / n"""

    @classmethod
    def _impl_v1(cls, bb: Any, inputs: Sequence[Any], attr: Any, params: Any) -> Any:
        total = bb.normalize(super()._impl_v1(bb, inputs, attr, params))
        return relax.op.divide(total, relax.const(len(inputs), total.ty.dtype))


class Expand(onnx_frontend.Expand):  # type: ignore[misc]
    """ONNX broadcasts both ways: where the requested shape has a 1 or is shorter, the input's size stays. TVM's
    converter gets the shape of the result wrong then, unless the requested shape is a constant.
    """

    @classmethod
    def _impl_v13(cls, bb: Any, inputs: Sequence[Any], _attr: Any, _params: Any) -> Any:
        x, wanted = bb.normalize(inputs[0]), constant_of(inputs[1], bb)
        if isinstance(inputs[1], relax.ShapeExpr):
            wanted = np.array([int(size) for size in inputs[1].values])
        if wanted is None:
            raise Refused("the shape that it expands to is not constant")
        sizes = tuple(int(size) for size in x.ty.shape)
        return relax.op.broadcast_to(x, np.broadcast_shapes(sizes, tuple(wanted.tolist())))


class Pad(PadConverter):
    """As ``relax.op.nn.pad``, which has a rule for layouts; TVM's converter writes loops instead of an operator."""

    @classmethod
    def lower(cls, bb: Any, inputs: Sequence[Any], attr: Any, params: Any, allowed_modes: Any) -> Any:
        mode = attr.get("mode", b"constant").decode()
        before, after, value = cls.padding(inputs, params)
        if mode not in PAD_MODES or mode not in allowed_modes or min([0, *before, *after]) < 0:
            return super().lower(bb, inputs, attr, params, allowed_modes)
        width = [number for both in zip(before, after, strict=True) for number in both]
        return relax.op.nn.pad(inputs[0], width, PAD_MODES[mode], value)


class Einsum(onnx_frontend.Einsum):  # type: ignore[misc]
    """Two operands: as a matrix product, which has a schedule and may become part of a fused attention."""

    @classmethod
    def _impl_v12(cls, bb: Any, inputs: Sequence[Any], attr: Any, params: Any) -> Any:
        operands = [bb.normalize(value) for value in inputs]
        spec = Summation.of(attr["equation"].decode(), [len(value.ty.shape) for value in operands])
        return super()._impl_v12(bb, inputs, attr, params) if spec is None else spec.build(bb, *operands)


CONVERTERS: Mapping[str, Any] = {
    "BitShift": BitShift,
    "Clip": Clip,
    "ConvTranspose": ConvTranspose,
    "Einsum": Einsum,
    "Expand": Expand,
    "GRU": Gru,
    "HardSigmoid": HardSigmoid,
    "HardSwish": HardSwish,
    "LSTM": Lstm,
    "Max": Max,
    "Mean": Mean,
    "Min": Min,
    "Pad": Pad,
    "RNN": Rnn,
    "ReduceLogSumExp": ReduceLogSumExp,
    "Sum": Sum,
    "ThresholdedRelu": ThresholdedRelu,
}


def hard_sigmoid(x: Any, alpha: float, beta: float) -> Any:
    dtype = x.ty.dtype
    line = relax.op.add(relax.op.multiply(x, relax.const(alpha, dtype)), relax.const(beta, dtype))
    # max with 0 comes last: LLVM would turn x * min(y, 1) into a comparison and a select between x * y and x
    return relax.op.maximum(relax.op.minimum(line, relax.const(1, dtype)), relax.const(0, dtype))


def _bound(bb: Any, given: Any, x: Any, sign: int) -> Any:
    """A bound of Clip: the lower one if sign is -1, the upper one if it is 1. None if it limits nothing.

    A bound that the node leaves out is the largest finite number, so infinities are clipped. A bound that is NaN limits
    nothing.
    """
    dtype = str(x.ty.dtype)
    if "float" not in dtype:
        return given
    if given is None:
        return relax.const(sign * float(np.finfo(dtype).max), dtype)
    known = constant_of(given)
    if known is None:
        given = bb.normalize(given)
        return bb.normalize(relax.op.where(relax.op.isnan(given), relax.const(sign * np.inf, dtype), given))
    return None if np.isnan(known).all() else given

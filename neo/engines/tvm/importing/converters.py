"""ONNX operators that we turn into Relax ourselves, because what TVM's importer writes would run slowly.

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
    """TVM's own is two loops over tensors that do not fuse."""

    @classmethod
    def _impl_v13(cls, bb: Any, inputs: Sequence[Any], attr: Any, params: Any) -> Any:
        low, high = (_constant(bound) for bound in (inputs[1], inputs[2]))
        if low is None or high is None:
            return super()._impl_v13(bb, inputs, attr, params)
        x = bb.normalize(inputs[0])
        return clip(x, low, high, x.ty.dtype)


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
    """As a convolution that computes all phases of the stride at once, as further channels, which are then put in
    their places: no multiplication with inserted zeros, and the schedules for convolutions apply.

    Source: Shi et al., "Is the deconvolution layer the same as a convolutional layer?", 2016.
    """

    @classmethod
    def _impl_v1(cls, bb: Any, inputs: Sequence[Any], attr: Any, params: Any) -> Any:
        transposed = TransposedConvolution.of(bb, inputs, attr)
        if transposed is None:
            return super()._impl_v1(bb, inputs, attr, params)
        return transposed.build(bb)


class BitShift(onnx_frontend.BitShift):  # type: ignore[misc]
    """An amount below zero, or of all bits and more, leaves of a number what its sign fills in: 0, or -1 where a
    negative one goes to the right. For machine instructions such amounts mean something else on every processor, so
    all bits but one and the last one are shifted in two steps.
    """

    @classmethod
    def _impl_v11(cls, bb: Any, inputs: Sequence[Any], attr: Any, params: Any) -> Any:
        x, amount = (bb.normalize(value) for value in inputs)
        dtype = str(x.ty.dtype)
        bits = np.dtype(dtype).itemsize * 8
        last, one = (relax.const(number, f"uint{bits}") for number in (bits - 1, 1))
        # without a sign, amounts below zero are large ones
        unsigned = relax.op.astype(amount, f"uint{bits}")
        first = relax.op.minimum(unsigned, last)
        for step in (first, relax.op.minimum(relax.op.subtract(unsigned, first), one)):
            x = super()._impl_v11(bb, [bb.normalize(x), bb.normalize(relax.op.astype(step, dtype))], attr, params)
        return x


class _Fold(onnx_frontend.OnnxOpConverter):  # type: ignore[misc]
    """An operator of any number of inputs, two at a time. TVM's own stacks them and does not compile."""

    binary = staticmethod(relax.op.add)

    @classmethod
    def _impl_v1(cls, _bb: Any, inputs: Sequence[Any], _attr: Any, _params: Any) -> Any:
        return functools.reduce(cls.binary, inputs)


class Sum(_Fold):
    """a + b + ..."""


class Max(_Fold):
    """The largest, element by element."""

    binary = staticmethod(relax.op.maximum)


class Min(_Fold):
    """The smallest, element by element."""

    binary = staticmethod(relax.op.minimum)


class Mean(_Fold):
    """(a + b + ...) / n"""

    @classmethod
    def _impl_v1(cls, bb: Any, inputs: Sequence[Any], attr: Any, params: Any) -> Any:
        total = bb.normalize(super()._impl_v1(bb, inputs, attr, params))
        return relax.op.divide(total, relax.const(len(inputs), total.ty.dtype))


class Expand(onnx_frontend.Expand):  # type: ignore[misc]
    """ONNX broadcasts both ways: a 1 in the wanted shape, or a shorter one, leaves the input's size. TVM's own makes a
    tensor of another shape of that where the wanted shape is no constant.
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
    """TVM's own has its loops at once, and layouts go around it."""

    @classmethod
    def lower(cls, bb: Any, inputs: Sequence[Any], attr: Any, params: Any, allowed_modes: Any) -> Any:
        mode = attr.get("mode", b"constant").decode()
        before, after, value = cls.padding(inputs, params)
        if mode not in PAD_MODES or mode not in allowed_modes or min([0, *before, *after]) < 0:
            return super().lower(bb, inputs, attr, params, allowed_modes)
        width = [number for both in zip(before, after, strict=True) for number in both]
        return relax.op.nn.pad(inputs[0], width, PAD_MODES[mode], value)


class Einsum(onnx_frontend.Einsum):  # type: ignore[misc]
    """Of two operands: as a matrix product, which is scheduled and may be one of an attention."""

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
    "Sum": Sum,
}


def clip(x: Any, low: float, high: float, dtype: str) -> Any:
    """With binary operators: ``relax.clip`` has no rule for layouts, so a convolution before it would keep its own."""
    return relax.op.minimum(relax.op.maximum(x, relax.const(low, dtype)), relax.const(high, dtype))


def hard_sigmoid(x: Any, alpha: float, beta: float) -> Any:
    dtype = x.ty.dtype
    line = relax.op.add(relax.op.multiply(x, relax.const(alpha, dtype)), relax.const(beta, dtype))
    return clip(line, 0.0, 1.0, dtype)


def _constant(bound: Any) -> float | None:
    """A finite scalar that is known now."""
    array = constant_of(bound)
    if array is None or array.size != 1:
        return None
    number = float(array.reshape(()))
    return number if np.isfinite(number) else None

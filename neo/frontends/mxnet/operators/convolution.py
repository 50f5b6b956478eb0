"""Convolution and its transpose."""

from __future__ import annotations

from dataclasses import dataclass

from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Converter, Operation
from neo.frontends.mxnet.operators.spatial import per_dimension, require_channels_first, require_reach


@dataclass(frozen=True, slots=True)
class Window:
    """How a kernel moves, one number per spatial dimension."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilate: tuple[int, ...]
    pad: tuple[int, ...]

    @property
    def extent(self) -> tuple[int, ...]:
        """What the dilated kernel spans."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilate, strict=True))


def convolution(op: Operation) -> Value:
    window, group, data, weight = window_of(op), groups_of(op), op.data, op.input(1, "weight")
    op.require_rank(weight, data.rank)
    channels = op.size(weight, 1) * group
    op.require_size(data, 1, channels, "channels")
    require_reach(op, window.extent, window.pad)
    return op.emit(
        "Conv",
        data,
        weight,
        _bias(op, no_bias=False),
        kernel_shape=window.kernel,
        strides=window.stride,
        dilations=window.dilate,
        pads=(*window.pad, *window.pad),
        group=group,
    )


def deconvolution(op: Operation) -> Value:
    window, group, data, weight = window_of(op), groups_of(op), op.data, op.input(1, "weight")
    op.require_rank(weight, data.rank)
    op.require_size(data, 1, op.size(weight, 0), "channels")
    pad, adjust = _transposed_padding(op, window)
    return op.emit(
        "ConvTranspose",
        data,
        weight,
        _bias(op, no_bias=True),
        kernel_shape=window.kernel,
        strides=window.stride,
        dilations=window.dilate,
        pads=(*pad, *pad),
        output_padding=adjust,
        group=group,
    )


def _transposed_padding(op: Operation, window: Window) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(pad, adjustment). A target shape outweighs both: MXNet 1.9.1, deconvolution-inl.h, InferPad."""
    rank = len(window.kernel)
    target = op.attributes.integers("target_shape", ())
    if not any(target):
        return window.pad, per_dimension(op, "adj", rank, 0)
    target = per_dimension(op, "target_shape", rank, 0)
    surplus = tuple(
        window.stride[i] * (op.size(op.data, 2 + i) - 1) + window.extent[i] - target[i] for i in range(rank)
    )
    if min(surplus) < 0:
        raise op.unsupported(f"target_shape {target} is larger than the kernel can reach")
    return tuple((extra + 1) // 2 for extra in surplus), tuple(extra % 2 for extra in surplus)


def window_of(op: Operation) -> Window:
    require_channels_first(op)
    kernel = op.attributes.integers("kernel")
    rank = len(kernel)
    if not 1 <= rank <= 3 or min(kernel) < 1:
        raise op.unsupported(f"a kernel of {kernel}")
    op.require_rank(op.data, rank + 2)
    return Window(
        kernel,
        per_dimension(op, "stride", rank, 1),
        per_dimension(op, "dilate", rank, 1),
        per_dimension(op, "pad", rank, 0),
    )


def groups_of(op: Operation) -> int:
    group = op.attributes.integer("num_group", 1)
    if group < 1:
        raise op.unsupported(f"num_group={group}")
    return group


def _bias(op: Operation, *, no_bias: bool) -> Value | None:
    return None if op.attributes.boolean("no_bias", no_bias) else op.input(2, "bias")


CONVERTERS: dict[str, Converter] = {
    "Convolution": convolution,
    "Convolution_v1": convolution,
    "Deconvolution": deconvolution,
}

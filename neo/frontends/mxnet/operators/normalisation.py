"""Normalisations, as they act at inference."""

from __future__ import annotations

import numpy as np

from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Converter, Operation


def batch_norm(op: Operation) -> Value:
    """Gamma (x - mean) / sqrt(var + eps) + beta along one axis; gamma is 1 where it is fixed."""
    if op.data.rank < 2:
        op.require_rank(op.data, 4)
    roles = ("gamma", "beta", "moving_mean", "moving_var")
    gamma, beta, mean, variance = (op.input(1 + i, role) for i, role in enumerate(roles))
    if op.attributes.boolean("fix_gamma", default=True):
        # whatever the file holds for it, MXNet takes ones
        gamma = op.constant(np.ones(gamma.shape), gamma.dtype)
    axis = op.axis(op.attributes.integer("axis", 1), op.data.rank)
    op.require_size(op.data, axis, op.size(gamma, 0), "channels")
    to_front = _swap(op.data.rank, axis)
    x = op.data if axis == 1 else op.emit("Transpose", op.data, perm=to_front)
    y = op.emit("BatchNormalization", x, gamma, beta, mean, variance, epsilon=op.attributes.number("eps", 1e-3))
    return y if axis == 1 else op.emit("Transpose", y, perm=to_front)


def rectified_batch_norm(op: Operation) -> Value:
    return op.emit("Relu", batch_norm(op))


def _swap(rank: int, axis: int, other: int = 1) -> tuple[int, ...]:
    """The permutation, its own inverse, that exchanges two axes."""
    order = list(range(rank))
    order[axis], order[other] = order[other], order[axis]
    return tuple(order)


def layer_norm(op: Operation) -> tuple[Value, ...]:
    """The mean and the standard deviation are outputs too, if the model wants them."""
    gamma, beta = op.input(1, "gamma"), op.input(2, "beta")
    last, epsilon = op.data.rank - 1, op.attributes.number("eps", 1e-5)
    axis = op.axis(op.attributes.integer("axis", -1), op.data.rank)
    op.require_size(op.data, axis, op.size(gamma, 0), "features")
    order = _swap(op.data.rank, axis, last)
    x = op.transposed(op.data, order)
    y = op.transposed(op.emit("LayerNormalization", x, gamma, beta, axis=-1, epsilon=epsilon), order)
    if not op.attributes.boolean("output_mean_var", default=False):
        return (y,)
    mean = op.emit("ReduceMean", op.data, axes=(axis,), keepdims=1)
    distance = op.emit("Sub", op.data, mean)
    variance = op.emit("ReduceMean", op.emit("Mul", distance, distance), axes=(axis,), keepdims=1)
    return y, mean, op.emit("Sqrt", op.emit("Add", variance, op.constant(epsilon, variance.dtype)))


def group_norm(op: Operation) -> Value:
    """Over groups of channels, each with a scale and a shift; MXNet 2.0 has these for every channel instead."""
    if op.attributes.boolean("output_mean_var", default=False):
        raise op.unsupported("output_mean_var=True")
    gamma, beta = op.input(1, "gamma"), op.input(2, "beta")
    groups, count = op.attributes.integer("num_groups", 1), op.size(gamma, 0)
    if op.data.rank < 3:
        op.require_rank(op.data, 4)
    channels = op.size(op.data, 1)
    if groups < 1 or channels % groups or count not in {groups, channels}:
        raise op.unsupported(f"{groups} groups with {count} scales for {op.data}")
    per_group = count == groups
    scale, shift = (gamma, beta) if per_group else (_ones(op, groups, gamma), _zeros(op, groups, gamma))
    grouped = op.reshape(op.data, (0, groups, -1))
    epsilon = op.attributes.number("eps", 1e-5)
    y = op.emit("InstanceNormalization", grouped, scale, shift, epsilon=epsilon)
    y = op.reshape(y, (0, *(op.size(op.data, axis) for axis in range(1, op.data.rank))))
    if per_group:
        return y
    along_channels = (-1,) + (1,) * (op.data.rank - 2)
    y = op.emit("Mul", y, op.reshape(gamma, along_channels))
    return op.emit("Add", y, op.reshape(beta, along_channels))


def _ones(op: Operation, count: int, like: Value) -> Value:
    return op.constant(np.ones(count), like.dtype)


def _zeros(op: Operation, count: int, like: Value) -> Value:
    return op.constant(np.zeros(count), like.dtype)


def instance_norm(op: Operation) -> Value:
    gamma, beta = op.input(1, "gamma"), op.input(2, "beta")
    op.require_size(op.data, 1, op.size(gamma, 0), "channels")
    return op.emit("InstanceNormalization", op.data, gamma, beta, epsilon=op.attributes.number("eps", 1e-3))


def local_response_norm(op: Operation) -> Value:
    return op.emit(
        "LRN",
        op.data,
        size=op.attributes.integer("nsize"),
        alpha=op.attributes.number("alpha", 1e-4),
        beta=op.attributes.number("beta", 0.75),
        bias=op.attributes.number("knorm", 2.0),
    )


def l2_normalization(op: Operation) -> Value:
    """X / sqrt(sum x^2 + eps), summed over all but the batch, over the channels, or over the positions."""
    mode = op.attributes.choice("mode", ("instance", "channel", "spatial"), "instance")
    axes = {"instance": range(1, op.data.rank), "channel": range(1, 2), "spatial": range(2, op.data.rank)}[mode]
    squares = op.emit("ReduceSum", op.emit("Mul", op.data, op.data), op.constant(axes), keepdims=1)
    epsilon = op.constant(op.attributes.number("eps", 1e-10), op.data.dtype)
    return op.emit("Div", op.data, op.emit("Sqrt", op.emit("Add", squares, epsilon)))


CONVERTERS: dict[str, Converter] = {
    "BatchNorm": batch_norm,
    "_contrib_BatchNormWithReLU": rectified_batch_norm,
    "BatchNorm_v1": batch_norm,
    "CuDNNBatchNorm": batch_norm,
    "GroupNorm": group_norm,
    "InstanceNorm": instance_norm,
    "L2Normalization": l2_normalization,
    "LRN": local_response_norm,
    "LayerNorm": layer_norm,
    "_contrib_SyncBatchNorm": batch_norm,
}

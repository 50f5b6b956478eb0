"""Pooling, with MXNet's own conventions for what lies beyond the edge.

Source: MXNet 1.9.1, src/operator/nn/pooling.cc (sizes) and src/operator/nn/pool.h (divisors).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Converter, Operation
from neo.frontends.mxnet.operators.spatial import per_dimension, require_channels_first, require_reach

# a pooling matrix of more elements than this is no plausible model
MAX_ADAPTIVE_SIZE = 4096


@dataclass(frozen=True, slots=True)
class Pool:
    """The windows of a pooling; one number for each spatial dimension."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    #: by how much the last window reaches beyond the padding
    extra: tuple[int, ...]

    @property
    def no_padding(self) -> tuple[int, ...]:
        return (0,) * len(self.kernel)

    @property
    def pad_end(self) -> tuple[int, ...]:
        return tuple(p + e for p, e in zip(self.pad, self.extra, strict=True))

    @property
    def has_empty_windows(self) -> bool:
        return any(end >= k for end, k in zip(self.pad_end, self.kernel, strict=True))

    def attributes(self) -> dict[str, tuple[int, ...]]:
        """In ONNX's terms."""
        return {"kernel_shape": self.kernel, "strides": self.stride, "pads": (*self.pad, *self.pad_end)}


def pooling(op: Operation) -> Value:
    require_channels_first(op)
    if not op.data.dtype.startswith("float"):
        raise op.unsupported(f"pooling of {op.data.dtype}", "give the input as float32")
    kind = op.attributes.choice("pool_type", ("max", "avg", "sum", "lp"), "max")
    power = op.attributes.integer("p_value", 0) if kind == "lp" else 0
    if kind == "lp" and power == 1:
        # MXNet adds the elements themselves, not their absolute values
        kind = "sum"
    elif kind == "lp" and power != 2:
        raise op.unsupported(f"p_value={power}; 1 and 2 are converted")
    if not 3 <= op.data.rank <= 5:
        op.require_rank(op.data, 4)
    return _global(op, kind) if op.attributes.boolean("global_pool", default=False) else _windowed(op, kind)


def _global(op: Operation, kind: str) -> Value:
    if kind == "sum":
        return op.emit("ReduceSum", op.data, op.constant(range(2, op.data.rank)), keepdims=1)
    if kind == "lp":
        return op.emit("GlobalLpPool", op.data, p=2)
    return op.emit({"max": "GlobalMaxPool", "avg": "GlobalAveragePool"}[kind], op.data)


def _windowed(op: Operation, kind: str) -> Value:
    pool = _pool(op)
    if kind == "avg":
        return _average(op, pool)
    lowest = float(np.finfo(op.data.dtype).min) if kind == "max" else 0.0
    x, pool = _with_reachable_windows(op, pool, lowest)
    if kind == "max":
        return op.emit("MaxPool", x, **pool.attributes())
    if kind == "lp":
        return op.emit("LpPool", x, p=2, **pool.attributes())
    mean = op.emit("AveragePool", x, count_include_pad=1, **pool.attributes())
    return op.emit("Mul", mean, op.constant(math.prod(pool.kernel), op.data.dtype))


def _average(op: Operation, pool: Pool) -> Value:
    """The divisor counts what lies inside the data or, if padding counts, inside the padding; never what is beyond."""
    padding_counts = op.attributes.boolean("count_include_pad", default=True)
    if padding_counts and any(pool.pad) and not any(pool.extra):
        return op.emit("AveragePool", op.data, count_include_pad=1, **pool.attributes())
    x = op.data
    if padding_counts and any(pool.pad):
        # padding turned into data is counted; what remains as padding is only what lies beyond it
        x, pool = _pad_explicitly(op, replace(pool, extra=pool.no_padding), 0.0)[0], replace(pool, pad=pool.no_padding)
    if pool.has_empty_windows:
        raise op.unsupported("an average over windows that hold no data at all")
    return op.emit("AveragePool", x, count_include_pad=0, **pool.attributes())


def _with_reachable_windows(op: Operation, pool: Pool, fill: float) -> tuple[Value, Pool]:
    """MXNet's full convention allows windows that contain padding only, ONNX does not: padding becomes data then."""
    return _pad_explicitly(op, pool, fill) if pool.has_empty_windows else (op.data, pool)


def _pad_explicitly(op: Operation, pool: Pool, fill: float) -> tuple[Value, Pool]:
    pads = op.constant((0, 0, *pool.pad, 0, 0, *pool.pad_end))
    padded = op.emit("Pad", op.data, pads, op.constant(fill, op.data.dtype))
    return padded, replace(pool, pad=pool.no_padding, extra=pool.no_padding)


def old_pooling(op: Operation) -> Value:
    """As MXNet before 0.9 had it: padding is zeros, also for the maximum, and the divisor is the kernel's size."""
    if op.attributes.boolean("global_pool", default=False):
        return pooling(op)
    require_channels_first(op)
    kind = op.attributes.choice("pool_type", ("max", "avg", "sum"), "max")
    pool = _pool(op)
    beyond = pool.extra
    x, pool = _pad_explicitly(op, replace(pool, extra=pool.no_padding), 0.0)
    pool = replace(pool, extra=beyond)
    if pool.has_empty_windows:
        raise op.unsupported("windows that hold no data at all")
    if kind == "max":
        return op.emit("MaxPool", x, **pool.attributes())
    mean = op.emit("AveragePool", x, count_include_pad=1, **pool.attributes())
    return mean if kind == "avg" else op.emit("Mul", mean, op.constant(math.prod(pool.kernel), x.dtype))


def _pool(op: Operation) -> Pool:
    kernel = op.attributes.integers("kernel")
    rank = len(kernel)
    if not 1 <= rank <= 3 or min(kernel) < 1:
        raise op.unsupported(f"a kernel of {kernel}")
    op.require_rank(op.data, rank + 2)
    convention = op.attributes.choice("pooling_convention", ("valid", "full", "same"), "valid")
    stride = per_dimension(op, "stride", rank, 1)
    # MXNet itself insists on zeros here, three of them in one dimension
    pad = (0,) * rank if convention == "same" else per_dimension(op, "pad", rank, 0)
    require_reach(op, kernel, pad)
    if convention == "valid":
        return Pool(kernel, stride, pad, (0,) * rank)
    extra = tuple(_extra(op.size(op.data, 2 + i) + 2 * pad[i], kernel[i], stride[i], convention) for i in range(rank))
    return Pool(kernel, stride, pad, extra)


def _extra(padded: int, kernel: int, stride: int, convention: str) -> int:
    """How far the last window reaches beyond ``padded`` elements."""
    outputs = -(-padded // stride) if convention == "same" else 1 - (-(padded - kernel) // stride)
    return max(0, (outputs - 1) * stride + kernel - padded)


def adaptive_average_pooling(op: Operation) -> Value:
    """Output element i is the mean of input elements floor(i n / m) to ceil((i + 1) n / m), n in and m out."""
    op.require_rank(op.data, 4)
    wanted = op.attributes.integers("output_size", ()) or (1,)
    height, width = wanted * 2 if len(wanted) == 1 else wanted[:2]
    if (height, width) == (1, 1):
        return op.emit("GlobalAveragePool", op.data)
    sizes = op.size(op.data, 2), op.size(op.data, 3)
    if min(height, width) < 1 or max(height, width, *sizes) > MAX_ADAPTIVE_SIZE:
        raise op.unsupported(f"an output_size of {wanted} for {op.data}")
    if sizes[0] % height == 0 and sizes[1] % width == 0:
        kernel = (sizes[0] // height, sizes[1] // width)
        return op.emit("AveragePool", op.data, kernel_shape=kernel, strides=kernel)
    rows = op.constant(_averaging_matrix(sizes[0], height), op.data.dtype)
    columns = op.constant(_averaging_matrix(sizes[1], width).T, op.data.dtype)
    return op.emit("MatMul", op.emit("MatMul", rows, op.data), columns)


def _averaging_matrix(size: int, outputs: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """(outputs, size): each row averages one window."""
    matrix = np.zeros((outputs, size))
    for row in range(outputs):
        start, end = row * size // outputs, -(-(row + 1) * size // outputs)
        matrix[row, start:end] = 1.0 / (end - start)
    return matrix


CONVERTERS: dict[str, Converter] = {
    "Pooling": pooling,
    "Pooling_v1": old_pooling,
    "_contrib_AdaptiveAvgPooling2D": adaptive_average_pooling,
}

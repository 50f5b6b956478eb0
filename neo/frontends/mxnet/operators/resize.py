"""Images enlarged, shrunk, or sampled along a grid."""

from __future__ import annotations

import math

import numpy as np

from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Converter, Operation
from neo.frontends.mxnet.operators.creation import require_reasonable

RESIZE_MODES = ("size", "odd_scale", "like", "to_even_down", "to_even_up", "to_odd_down", "to_odd_up")


def upsampling(op: Operation) -> Value:
    scale = op.attributes.integer("scale")
    if op.attributes.choice("sample_type", ("nearest", "bilinear")) == "bilinear":
        return _bilinear(op, scale)
    op.require_rank(op.data, 4)
    enlarged = [_nearest(op, value, scale) for value in op.inputs]
    if len(enlarged) == 1:
        return enlarged[0]
    if op.attributes.choice("multi_input_mode", ("concat", "sum"), "concat") == "sum":
        return op.emit("Sum", *enlarged)
    return op.emit("Concat", *enlarged, axis=1)


def _nearest(op: Operation, value: Value, scale: int) -> Value:
    """Every input grows to the size that the first one has after scaling."""
    if value is not op.data:
        scale = op.size(op.data, 2) * scale // op.size(value, 2)
    if scale < 1:
        raise op.unsupported(f"scale {scale}")
    return op.emit(
        "Resize",
        value,
        None,
        op.constant([1.0, 1.0, scale, scale], "float32"),
        mode="nearest",
        nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )


def _bilinear(op: Operation, scale: int) -> Value:
    """A transposed convolution, channel by channel, whose kernel the model brings along."""
    weight = op.input(1, "weight")
    op.require_size(op.data, 1, op.size(weight, 0), "channels")
    side = 2 * scale - scale % 2
    before = math.ceil((scale - 1) / 2)
    return op.emit(
        "ConvTranspose",
        op.data,
        weight,
        kernel_shape=(side, side),
        strides=(scale, scale),
        pads=(before,) * 4,
        group=op.size(weight, 0),
    )


def bilinear_resize(op: Operation) -> Value:
    op.require_rank(op.data, 4)
    height, width = _resized(op, op.size(op.data, 2), "height", 2), _resized(op, op.size(op.data, 3), "width", 3)
    if min(height, width) < 1:
        raise op.unsupported(f"a size of {height} x {width}")
    aligned = op.attributes.boolean("align_corners", default=True)
    # a side of 1 takes the first element, not the middle
    return op.emit(
        "Resize",
        op.data,
        None,
        None,
        _sizes(op, height, width),
        mode="linear",
        coordinate_transformation_mode="align_corners" if aligned else "pytorch_half_pixel",
    )


def _sizes(op: Operation, height: int, width: int) -> Value:
    batch, channels = op.data.shape[:2]
    if isinstance(batch, int) and isinstance(channels, int):
        return op.constant([batch, channels, height, width])
    first = op.emit("Slice", op.emit("Shape", op.data), op.constant([0]), op.constant([2]))
    return op.emit("Concat", first, op.constant([height, width]), axis=0)


def _resized(op: Operation, size: int, side: str, axis: int) -> int:
    """Source: MXNet 1.9.1, src/operator/contrib/bilinear_resize-inl.h, BilinearSampleOpInferShape."""
    mode = op.attributes.choice("mode", RESIZE_MODES, "size")
    if mode == "like":
        return op.size(op.input(1, "like"), axis)
    if mode == "size" and not op.attributes.has("scale_height"):
        return op.attributes.integer(side, 1)
    if mode in {"size", "odd_scale"}:
        scale = op.attributes.number(f"scale_{side}")
        if not 0 < scale * size < MAX_SIDE:
            raise op.unsupported(f"scale_{side}={scale} of {size}")
        # the scale is a float32 there, and the size is cut off after the point
        scale = float(np.float32(scale))
        return int(size * scale) if mode == "size" or size % 2 == 0 else int((size - 1) * scale) + 1
    fits = size % 2 == (0 if "even" in mode else 1)
    return size if fits else size + (1 if mode.endswith("up") else -1)


# MXNet counts the sides of the result in 16 bits
MAX_SIDE = 1 << 15


def grid_generator(op: Operation) -> Value:
    """(N, 2, H, W): x and y of every place in -1 to 1, moved by an affine matrix (N, 6) or a flow (N, 2, H, W)."""
    kind = op.attributes.choice("transform_type", ("affine", "warp"))
    if kind == "affine":
        return _affine_grid(op, op.data, op.attributes.integers("target_shape", (0, 0)))
    op.require_rank(op.data, 4)
    height, width = op.size(op.data, 2), op.size(op.data, 3)
    require_reasonable(op, (2, height, width))
    if min(height, width) < 2:
        raise op.unsupported(f"a flow of {height} x {width}")
    rows, columns = np.mgrid[0:height, 0:width]
    base = op.constant(np.stack([columns, rows])[np.newaxis], op.data.dtype)
    steps = op.constant(np.reshape([2 / (width - 1), 2 / (height - 1)], (1, 2, 1, 1)), op.data.dtype)
    moved = op.emit("Mul", op.emit("Add", op.data, base), steps)
    return op.emit("Sub", moved, op.constant(1.0, op.data.dtype))


def _affine_grid(op: Operation, matrix: Value, target: tuple[int, ...]) -> Value:
    if len(target) != 2 or min(target) < 2:
        raise op.unsupported(f"target_shape={target}")
    height, width = require_reasonable(op, target)
    rows, columns = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    places = np.stack([columns.reshape(-1), rows.reshape(-1), np.ones(height * width)])
    moved = op.emit("MatMul", op.reshape(matrix, (-1, 2, 3)), op.constant(places, matrix.dtype))
    return op.reshape(moved, (0, 2, height, width))


def bilinear_sampler(op: Operation) -> Value:
    return _sampled(op, op.input(1, "grid"))


def _sampled(op: Operation, grid: Value) -> Value:
    """What the grid points at; 0 outside the image."""
    op.require_rank(op.data, 4)
    op.require_rank(grid, 4)
    places = op.emit("Transpose", grid, perm=(0, 2, 3, 1))
    return op.emit("GridSample", op.data, places, align_corners=1, mode="bilinear", padding_mode="zeros")


def spatial_transformer(op: Operation) -> Value:
    op.attributes.choice("transform_type", ("affine",), "affine")
    op.attributes.choice("sampler_type", ("bilinear",), "bilinear")
    return _sampled(op, _affine_grid(op, op.input(1, "loc"), op.attributes.integers("target_shape", (0, 0))))


CONVERTERS: dict[str, Converter] = {
    "BilinearSampler": bilinear_sampler,
    "GridGenerator": grid_generator,
    "SpatialTransformer": spatial_transformer,
    "UpSampling": upsampling,
    "_contrib_BilinearResize2D": bilinear_resize,
}

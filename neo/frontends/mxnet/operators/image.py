"""What gluon's transforms do to a picture before the network: height, width and channels, in a batch or alone."""

from __future__ import annotations

import numpy as np

from neo.frontends.mxnet.onnx_graph import Value
from neo.frontends.mxnet.operation import Converter, Operation
from neo.frontends.mxnet.operators.indexing import reversed_axes


def to_tensor(op: Operation) -> Value:
    """0 to 255 with the channels last to floats of 0 to 1 with the channels first."""
    _require_picture(op)
    order = (2, 0, 1) if op.data.rank == 3 else (0, 3, 1, 2)
    floats = op.cast(op.emit("Transpose", op.data, perm=order), "float32")
    return op.emit("Div", floats, op.constant(255.0, "float32"))


def normalize(op: Operation) -> Value:
    """The channels, first here, less a mean each, by a deviation each."""
    _require_picture(op)
    channels = op.size(op.data, op.data.rank - 3)
    mean, deviation = op.attributes.numbers("mean", (0.0,)), op.attributes.numbers("std", (1.0,))
    if not {len(mean), len(deviation)} <= {1, channels}:
        raise op.unsupported(f"mean={mean}, std={deviation} for {channels} channels")
    if 0.0 in deviation:
        raise op.unsupported(f"std={deviation}")
    less = op.emit("Sub", op.data, op.constant(np.reshape(mean, (-1, 1, 1)), op.data.dtype))
    return op.emit("Div", less, op.constant(np.reshape(deviation, (-1, 1, 1)), op.data.dtype))


def crop(op: Operation) -> Value:
    _require_picture(op)
    left, top, width, height = (op.attributes.integer(name) for name in ("x", "y", "width", "height"))
    rows, columns = op.size(op.data, op.data.rank - 3), op.size(op.data, op.data.rank - 2)
    if min(left, top) < 0 or min(width, height) < 1 or left + width > columns or top + height > rows:
        raise op.unsupported(f"{height} x {width} at ({top}, {left}) of {op.data}")
    ends = op.constant([top + height, left + width])
    return op.emit("Slice", op.data, op.constant([top, left]), ends, op.constant([-3, -2]))


def flipped(axis: int) -> Converter:
    """All rows: of an odd number, MXNet 1.9.1 forgets the one in the middle when it turns them upside down."""

    def convert(op: Operation) -> Value:
        _require_picture(op)
        return reversed_axes(op, op.data, [op.data.rank + axis])

    return convert


def _require_picture(op: Operation) -> None:
    if op.data.rank not in {3, 4}:
        op.require_rank(op.data, 4)


_BY_NAME: dict[str, Converter] = {
    "crop": crop,
    "flip_left_right": flipped(-2),
    "flip_top_bottom": flipped(-3),
    "normalize": normalize,
    "to_tensor": to_tensor,
}
CONVERTERS: dict[str, Converter] = {f"_image_{name}": convert for name, convert in _BY_NAME.items()}

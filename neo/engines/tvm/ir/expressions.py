"""Asking Relax expressions, and rebuilding statements of TensorIR, for which TVM 0.27 has little in Python."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import relax, tirx


def name_of(value: Any) -> str:
    """Of the operator that is called, without "relax."; "" if none is."""
    found = getattr(value.op, "name", "") if isinstance(value, relax.Call) else ""
    return str(found).removeprefix("relax.")


def shape_of(value: Any) -> tuple[int, ...]:
    """Of a tensor with a fixed shape."""
    return tuple(int(size) for size in value.ty.shape)


def bytes_of(value: Any) -> int:
    """Of a tensor with a fixed shape."""
    return bytes_in(value.ty)


def bytes_in(tensor: Any) -> int:
    """tensor: a buffer, or the type of a tensor, with a fixed shape."""
    return math.prod(int(size) for size in tensor.shape) * np.dtype(str(tensor.dtype)).itemsize


def permuted(value: Any, axes: Sequence[int]) -> Any:
    """With its dimensions in that order; itself if that is the order already."""
    return value if list(axes) == sorted(axes) else relax.op.permute_dims(value, list(axes))


def with_body(loop: Any, body: Any) -> tirx.For:
    """The loop around another body."""
    return tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, body, loop.thread_binding, loop.annotations)

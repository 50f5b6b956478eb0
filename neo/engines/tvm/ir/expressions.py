"""Queries on Relax expressions, and rebuilding TensorIR statements: TVM 0.27 has little of both in Python."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import relax, tirx


def name_of(value: Any) -> str:
    """Name of the operator that is called, without "relax."; "" if the value is no call of an operator."""
    found = getattr(value.op, "name", "") if isinstance(value, relax.Call) else ""
    return str(found).removeprefix("relax.")


def shape_of(value: Any) -> tuple[int, ...]:
    """value: a tensor with a fixed shape."""
    return tuple(int(size) for size in value.ty.shape)


def bytes_of(value: Any) -> int:
    """Size in memory. value: a tensor with a fixed shape."""
    return bytes_in(value.ty)


def bytes_in(tensor: Any) -> int:
    """Size in memory. tensor: a buffer, or the type of a tensor, with a fixed shape."""
    return math.prod(int(size) for size in tensor.shape) * np.dtype(str(tensor.dtype)).itemsize


def permuted(value: Any, axes: Sequence[int]) -> Any:
    """The value with its dimensions in this order; the value itself if nothing changes."""
    return value if list(axes) == sorted(axes) else relax.op.permute_dims(value, list(axes))


def with_body(loop: Any, body: Any) -> tirx.For:
    """The same loop with another body."""
    return tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, body, loop.thread_binding, loop.annotations)

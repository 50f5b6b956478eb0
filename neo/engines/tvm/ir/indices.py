"""Index arithmetic: flat indices, broadcasting, transposition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tvm import relax, tirx


def flatten(at: Sequence[Any], shape: Sequence[int]) -> Any:
    """Indices -> flat index in row-major order."""
    flat = 0
    for index, size in zip(at, shape, strict=True):
        flat = flat * size + index
    return flat


def unflatten(flat: Any, shape: Sequence[int]) -> list[Any]:
    """Flat index in row-major order -> indices."""
    at = []
    for position, size in enumerate(shape):
        index = flat // math.prod(shape[position + 1 :])
        at.append(index % size if position else index)
    return at


def broadcast_index(at: Sequence[Any], shape: Sequence[Any], own: Sequence[Any]) -> list[Any]:
    """Indices into a tensor of shape ``own`` for indices ``at`` into the shape that it is broadcast to (numpy's rules).

    A dimension of size 1 in both shapes keeps its index instead of 0: TVM fuses reads of the same indices only.
    """
    behind = len(shape) - len(own)
    dimensions = zip(at[behind:], shape[behind:], own, strict=True)
    return [0 if _is_one(size) and not _is_one(whole) else index for index, whole, size in dimensions]


def _is_one(size: Any) -> bool:
    return isinstance(size, tirx.IntImm) and int(size) == 1


def before_transpose(at: Sequence[Any], axes: Sequence[int]) -> list[Any]:
    """Indices into a transposed tensor -> into the tensor before. axes: as numpy's transpose takes them."""
    return [index for _, index in sorted(zip(axes, at, strict=True), key=lambda pair: pair[0])]


def axes_of(call: relax.Call) -> list[int]:
    """The axes of a ``relax.permute_dims``, none of them negative."""
    rank, axes = len(call.ty.shape), call.attrs.axes
    return list(reversed(range(rank))) if axes is None else [int(axis) % rank for axis in axes]

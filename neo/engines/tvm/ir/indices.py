"""Places in tensors: as one number, as several, and in another order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tvm import relax, tirx


def flatten(at: Sequence[Any], shape: Sequence[int]) -> Any:
    """The number of a place among all of the shape's, the last index the fastest."""
    flat = 0
    for index, size in zip(at, shape, strict=True):
        flat = flat * size + index
    return flat


def unflatten(flat: Any, shape: Sequence[int]) -> list[Any]:
    """The place that has the number."""
    at = []
    for position, size in enumerate(shape):
        index = flat // math.prod(shape[position + 1 :])
        at.append(index % size if position else index)
    return at


def broadcast_place(at: Sequence[Any], shape: Sequence[Any], own: Sequence[Any]) -> list[Any]:
    """Where a tensor of the shape ``own`` has what is at a place of one that it is broadcast to, as numpy does.

    The index itself where both are as large, also where that is 1: fusion goes by what is read at the same place.
    """
    behind = len(shape) - len(own)
    places = zip(at[behind:], shape[behind:], own, strict=True)
    return [0 if _is_one(size) and not _is_one(whole) else index for index, whole, size in places]


def _is_one(size: Any) -> bool:
    return isinstance(size, tirx.IntImm) and int(size) == 1


def before_transpose(place: Sequence[Any], axes: Sequence[int]) -> list[Any]:
    """Where an element of a transposed tensor was. axes: which dimension each of the new tensor's is."""
    return [index for _, index in sorted(zip(axes, place, strict=True), key=lambda pair: pair[0])]


def axes_of(call: relax.Call) -> list[int]:
    """Of ``relax.permute_dims``, from 0 on."""
    rank, axes = len(call.ty.shape), call.attrs.axes
    return list(reversed(range(rank))) if axes is None else [int(axis) % rank for axis in axes]

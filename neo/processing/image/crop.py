"""Cutting the middle out, and fitting into a frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neo.errors import UsageError
from neo.processing.image.resize import NEAREST, Resampling
from neo.processing.image.state import MAX_SIDE, NHWC, Image
from neo.processing.tables import Table

if TYPE_CHECKING:
    from neo.processing.graph import Graph

_GREY = 114.0


@dataclass(frozen=True, slots=True)
class Crop:
    """Cuts out the middle. If the border is odd, its half is rounded to even, as in torchvision's center_crop."""

    #: (height, width)
    size: tuple[int, int]

    def after(self, image: Image) -> Image:
        height, width = self.size
        if height > image.height or width > image.width:
            raise UsageError(
                f"crop to {height}x{width}: the image is only {image.height}x{image.width} there",
                hint="put a larger resize before it, or a letterbox in its place",
            )
        return replace(image, height=height, width=width)

    def emit(self, graph: Graph, value: str, image: Image) -> str:
        for axis, before, after in zip(image.axes, (image.height, image.width), self.size, strict=False):
            start = _half_to_even(before - after)
            if after < before:
                value = graph.slice(value, axis, start, start + after)
        return value

    def reference(self, pixels: NDArray[Any], image: Image) -> NDArray[Any]:
        height, width = self.size
        top, left = round((image.height - height) / 2), round((image.width - width) / 2)
        return pixels[_window(image, top, left, self.size)]


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Resizes in proportion to fit into a frame, and centres the image in it.

    Sides are rounded, and an odd border is one pixel wider below and on the right, as in Ultralytics' LetterBox.
    """

    #: (height, width)
    size: tuple[int, int]
    #: value of the border
    fill: float
    resampling: Resampling

    def after(self, image: Image) -> Image:
        dtype = image.dtype if self.resampling.filter == NEAREST else "float32"
        return replace(image, height=self.size[0], width=self.size[1], dtype=dtype)

    def emit(self, graph: Graph, value: str, image: Image) -> str:
        inner = self._inner(image)
        dtype = self.after(image).dtype
        if inner != (image.height, image.width):
            value = self.resampling.emit(graph, value, image, inner)
        elif dtype != image.dtype:
            value = graph.cast(value, dtype)
        before, after = [0, 0, 0, 0], [0, 0, 0, 0]
        for axis, total, filled in zip(image.axes, self.size, inner, strict=False):
            before[axis] = (total - filled) // 2
            after[axis] = total - filled - before[axis]
        if not any(after):
            return value
        return graph.add("Pad", value, graph.whole(*before, *after), graph.constant(np.array(self.fill), dtype))

    def reference(self, pixels: NDArray[Any], image: Image) -> NDArray[Any]:
        inner = self._inner(image)
        content = self.resampling.reference(pixels, image, inner)
        framed = np.full([pixels.shape[0], *map(int, self.after(image).shape[1:])], self.fill)
        top, left = (self.size[0] - inner[0]) // 2, (self.size[1] - inner[1]) // 2
        framed[_window(image, top, left, inner)] = content
        return framed

    def _inner(self, image: Image) -> tuple[int, int]:
        ratio = min(self.size[0] / image.height, self.size[1] / image.width)
        return max(round(image.height * ratio), 1), max(round(image.width * ratio), 1)


def read_crop(table: Table) -> Crop:
    return Crop(table.size("size", MAX_SIDE))


def read_letterbox(table: Table) -> Letterbox:
    size, fill = table.size("size", MAX_SIDE), table.number("fill", 0, 255, _GREY)
    return Letterbox(size, fill, Resampling.read(table, antialias=False))


def _half_to_even(rest: int) -> int:
    half = rest // 2
    return half + rest % 2 * (half % 2)


def _window(image: Image, top: int, left: int, size: tuple[int, int]) -> tuple[slice, ...]:
    """The part of an array in image's layout."""
    window = (slice(top, top + size[0]), slice(left, left + size[1]))
    return (slice(None), *window) if image.layout == NHWC else (slice(None), slice(None), *window)

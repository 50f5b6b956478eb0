"""Resizing. Results are float32 and not rounded to whole levels.

Pixel centres lie at halves, as in Pillow, torch's ``align_corners=False`` and OpenCV. With antialias the filter grows
with the reduction, as Pillow's does; without, it spans the neighbouring pixels only, as OpenCV's INTER_LINEAR.
Source: Pillow, src/libImaging/Resample.c (filters, windows, sums); torchvision's ``resize`` (the longer side).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neo.errors import UsageError
from neo.processing.image.state import MAX_SIDE, NHWC, Image
from neo.processing.tables import Table

if TYPE_CHECKING:
    from neo.processing.graph import Graph

NEAREST = "nearest"
BILINEAR = "bilinear"
BICUBIC = "bicubic"
FILTERS = (BILINEAR, BICUBIC, NEAREST)
# Keys' cubic convolution with the parameter that Pillow has
_CUBIC_A = -0.5


@dataclass(frozen=True, slots=True)
class Resampling:
    """The filter of a resize; antialias does not apply to nearest."""

    filter: str = BILINEAR
    antialias: bool = True

    @classmethod
    def read(cls, table: Table, *, antialias: bool) -> Resampling:
        chosen = cls(table.choice("filter", FILTERS, BILINEAR), table.flag("antialias", default=antialias))
        if chosen.filter == BICUBIC and not chosen.antialias:
            raise UsageError(
                f"{table.where}: bicubic goes with antialias only",
                hint="leave antialias out, or take filter = 'bilinear'",
            )
        return chosen

    def emit(self, graph: Graph, value: str, image: Image, size: tuple[int, int]) -> str:
        """The value at the size (height, width), in image's layout."""
        if self.filter == NEAREST:
            for axis, before, after in zip(image.axes, (image.height, image.width), size, strict=False):
                value = graph.add("Gather", value, graph.constant(_nearest(before, after), "int64"), axis=axis)
            return value
        planes = value if image.dtype == "float32" else graph.cast(value, "float32")
        if image.layout == NHWC:
            planes = graph.add("Transpose", planes, perm=[0, 3, 1, 2])
        planes = self._resample(graph, planes, image, size)
        if self._overshoots(image):
            planes = graph.add("Clip", planes, graph.constant(np.array(0)), graph.constant(np.array(255)))
        return graph.add("Transpose", planes, perm=[0, 2, 3, 1]) if image.layout == NHWC else planes

    def _resample(self, graph: Graph, planes: str, image: Image, size: tuple[int, int]) -> str:
        (height, width), (rows, columns) = (image.height, image.width), size
        shrinks = rows < height or columns < width
        if self.filter == BILINEAR and not (self.antialias and shrinks) and isinstance(image.batch, int):
            # each pixel depends on few neighbours: a matrix would consist mostly of zeros
            sizes = graph.whole(image.batch, image.channels, rows, columns)
            mode = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
            return graph.add("Resize", planes, "", "", sizes, **mode)
        by_rows = graph.constant(weights(height, rows, self))
        by_columns = graph.constant(weights(width, columns, self).T)
        # first the side that takes fewer multiplications in all
        if rows * width * (height + columns) <= height * columns * (width + rows):
            return graph.add("MatMul", graph.add("MatMul", by_rows, planes), by_columns)
        return graph.add("MatMul", by_rows, graph.add("MatMul", planes, by_columns))

    def reference(self, pixels: NDArray[Any], image: Image, size: tuple[int, int]) -> NDArray[Any]:
        for axis, after in zip(image.axes, size, strict=False):
            if self.filter == NEAREST:
                index = np.floor((np.arange(after) + 0.5) * pixels.shape[axis] / after).astype(int)
                pixels = pixels.take(index, axis)
            else:
                pixels = _resample_axis(pixels.astype(np.float64), axis, after, self)
        return np.clip(pixels, 0, 255) if self._overshoots(image) else pixels

    def _overshoots(self, image: Image) -> bool:
        """Bicubic gives values below 0 and above 255. Pillow clips them, and so do we if the values are still 0 to
        255.
        """
        return self.filter == BICUBIC and image.dtype == "uint8"


@dataclass(frozen=True, slots=True)
class Resize:
    """Resizes to a fixed size, or by the shorter side."""

    #: (height, width), without regard to proportions; None: by ``shortest``
    size: tuple[int, int] | None
    #: new length of the shorter side; the other one in proportion, rounded down
    shortest: int | None
    resampling: Resampling

    def after(self, image: Image) -> Image:
        height, width = self._size(image)
        dtype = image.dtype if self.resampling.filter == NEAREST else "float32"
        return replace(image, height=height, width=width, dtype=dtype)

    def emit(self, graph: Graph, value: str, image: Image) -> str:
        return self.resampling.emit(graph, value, image, self._size(image))

    def reference(self, pixels: NDArray[Any], image: Image) -> NDArray[Any]:
        return self.resampling.reference(pixels, image, self._size(image))

    def _size(self, image: Image) -> tuple[int, int]:
        if self.size is not None:
            return self.size
        short, target = min(image.height, image.width), self.shortest or 0
        return target * image.height // short, target * image.width // short


def read_resize(table: Table) -> Resize:
    if table.has("size") == table.has("shortest"):
        raise UsageError(
            f"{table.where} needs either size or shortest",
            hint="size = [224, 224] stretches; shortest = 256 keeps the proportions",
        )
    size = table.size("size", MAX_SIDE) if table.has("size") else table.any("size")
    shortest = table.whole("shortest", 1, MAX_SIDE) if table.has("shortest") else table.any("shortest")
    return Resize(size, shortest, Resampling.read(table, antialias=True))


def weights(before: int, after: int, resampling: Resampling) -> NDArray[np.float32]:
    """float32 (after, before): row i has the weights of all old pixels in the new pixel i; each row adds up to 1."""
    scale = before / after
    stretch = max(scale, 1.0) if resampling.antialias else 1.0
    centres = (np.arange(after) + 0.5) * scale - 0.5
    table = _KERNELS[resampling.filter]((np.arange(before) - centres[:, np.newaxis]) / stretch)
    return np.asarray(table / table.sum(axis=1, keepdims=True), np.float32)


def _triangle(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(1.0 - np.abs(x), 0.0)


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x, a = np.abs(x), _CUBIC_A
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


_KERNELS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {BILINEAR: _triangle, BICUBIC: _cubic}


def _nearest(before: int, after: int) -> NDArray[np.int64]:
    """Index of the old pixel that contains each new pixel's centre; integer arithmetic makes it exact."""
    return (2 * np.arange(after, dtype=np.int64) + 1) * before // (2 * after)


def _resample_axis(pixels: NDArray[np.float64], axis: int, after: int, resampling: Resampling) -> NDArray[np.float64]:
    """Pixel by pixel, over the window of each one."""
    before = pixels.shape[axis]
    scale = before / after
    stretch = max(scale, 1.0) if resampling.antialias else 1.0
    reach = stretch * (2.0 if resampling.filter == BICUBIC else 1.0)
    moved = np.moveaxis(pixels, axis, 0)
    result = np.empty((after, *moved.shape[1:]))
    for position in range(after):
        centre = (position + 0.5) * scale
        first, last = max(int(centre - reach + 0.5), 0), min(int(centre + reach + 0.5), before)
        window = np.array([_kernel_at((i + 0.5 - centre) / stretch, resampling.filter) for i in range(first, last)])
        result[position] = np.tensordot(window / window.sum(), moved[first:last], axes=1)
    return np.moveaxis(result, 0, axis)


def _kernel_at(x: float, name: str) -> float:
    x = abs(x)
    if name == BILINEAR:
        return max(1.0 - x, 0.0)
    if x < 1.0:
        return 1.5 * x**3 - 2.5 * x**2 + 1.0
    return -0.5 * x**3 + 2.5 * x**2 - 4.0 * x + 2.0 if x < 2.0 else 0.0

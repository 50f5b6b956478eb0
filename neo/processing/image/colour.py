"""Order, number and position of channels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neo.errors import UsageError
from neo.processing.image.state import COLOURS, GRAY, NCHW, NHWC, Image
from neo.processing.tables import Table

if TYPE_CHECKING:
    from neo.processing.graph import Graph

# ITU-R BT.601 luma, as in Pillow's convert("L")
_LUMA = {"R": 0.299, "G": 0.587, "B": 0.114}


@dataclass(frozen=True, slots=True)
class Channels:
    """RGB <-> BGR, either to GRAY (BT.601 luma, float32, not rounded), or GRAY to three equal channels."""

    to: str

    def after(self, image: Image) -> Image:
        return replace(image, colours=self.to, dtype="float32" if self._makes_grey(image) else image.dtype)

    def emit(self, graph: Graph, value: str, image: Image) -> str:
        axis = image.axes[2]
        if image.colours == self.to:
            return value
        if self._makes_grey(image):
            value = value if image.dtype == "float32" else graph.cast(value, "float32")
            luma = np.array([_LUMA[colour] for colour in image.colours], np.float32)
            shaped = luma if image.layout == NHWC else luma.reshape(-1, 1, 1)
            weighted = graph.add("Mul", value, graph.constant(shaped))
            return graph.add("ReduceSum", weighted, graph.whole(axis), keepdims=1)
        order = (0, 0, 0) if image.colours == GRAY else (2, 1, 0)
        return graph.add("Gather", value, graph.whole(*order), axis=axis)

    def reference(self, pixels: NDArray[Any], image: Image) -> NDArray[Any]:
        last = np.moveaxis(pixels, image.axes[2], -1)
        if self._makes_grey(image):
            named = dict(zip(image.colours, np.moveaxis(last.astype(np.float64), -1, 0), strict=True))
            last = ((299 * named["R"] + 587 * named["G"] + 114 * named["B"]) / 1000)[..., np.newaxis]
        elif image.colours == GRAY and self.to != GRAY:
            last = np.repeat(last, 3, axis=-1)
        elif image.colours != self.to:
            last = last[..., ::-1]
        return np.moveaxis(last, -1, image.axes[2])

    def _makes_grey(self, image: Image) -> bool:
        return self.to == GRAY and image.colours != GRAY


@dataclass(frozen=True, slots=True)
class Layout:
    """NHWC, as pictures lie in memory, or NCHW, as most networks want them."""

    to: str

    def after(self, image: Image) -> Image:
        if image.layout == self.to:
            raise UsageError(f"layout: the image is {self.to} there already", hint="leave this step out")
        return replace(image, layout=self.to)

    def emit(self, graph: Graph, value: str, image: Image) -> str:
        return graph.add("Transpose", value, perm=[0, 3, 1, 2] if image.layout == NHWC else [0, 2, 3, 1])

    def reference(self, pixels: NDArray[Any], image: Image) -> NDArray[Any]:
        return np.moveaxis(pixels, -1, 1) if image.layout == NHWC else np.moveaxis(pixels, 1, -1)


def read_channels(table: Table) -> Channels:
    return Channels(table.choice("to", COLOURS))


def read_layout(table: Table) -> Layout:
    return Layout(table.choice("to", (NCHW, NHWC)))

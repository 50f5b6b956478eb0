"""Arithmetic on pixels, and their dtype."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neo.errors import UsageError
from neo.processing.image.state import NHWC, Image
from neo.processing.tables import Table

if TYPE_CHECKING:
    from neo.processing.graph import Graph

DTYPES = ("float32", "float16", "uint8")


@dataclass(frozen=True, slots=True)
class Scale:
    """Divides pixels by a number; 255 scales them to 0 to 1."""

    divide_by: float

    def after(self, image: Image) -> Image:
        return replace(image, dtype="float32")

    def emit(self, graph: Graph, value: str, image: Image) -> str:
        value = value if image.dtype == "float32" else graph.cast(value, "float32")
        return graph.add("Div", value, graph.constant(np.array(self.divide_by)))

    def reference(self, pixels: NDArray[Any], _image: Image) -> NDArray[Any]:
        return pixels.astype(np.float64) / self.divide_by


@dataclass(frozen=True, slots=True)
class Normalise:
    """(pixel - mean) / std, one number for all channels or one for each, in the channels' order at this point."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def after(self, image: Image) -> Image:
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if len(numbers) not in (1, image.channels):
                raise UsageError(
                    f"normalise: {name} has {len(numbers)} numbers, the image has {image.channels} channels"
                    f" ({image.colours}) there",
                    hint="give one number, or one for each channel",
                )
        return replace(image, dtype="float32")

    def emit(self, graph: Graph, value: str, image: Image) -> str:
        value = value if image.dtype == "float32" else graph.cast(value, "float32")
        centred = graph.add("Sub", value, graph.constant(_along_channels(self.mean, image)))
        return graph.add("Div", centred, graph.constant(_along_channels(self.std, image)))

    def reference(self, pixels: NDArray[Any], image: Image) -> NDArray[Any]:
        last = np.moveaxis(pixels.astype(np.float64), image.axes[2], -1)
        return np.moveaxis((last - np.array(self.mean)) / np.array(self.std), -1, image.axes[2])


@dataclass(frozen=True, slots=True)
class Cast:
    """Converts to the model's dtype; to uint8 with rounding half to even and clipping to 0 to 255."""

    dtype: str

    def after(self, image: Image) -> Image:
        return replace(image, dtype=self.dtype)

    def emit(self, graph: Graph, value: str, image: Image) -> str:
        if self.dtype == "uint8" and image.dtype != "uint8":
            rounded = graph.add("Round", graph.cast(value, "float32"))
            value = graph.add("Clip", rounded, graph.constant(np.array(0)), graph.constant(np.array(255)))
        return graph.cast(value, self.dtype)

    def reference(self, pixels: NDArray[Any], _image: Image) -> NDArray[Any]:
        return np.clip(np.rint(pixels), 0, 255) if self.dtype == "uint8" else pixels


def read_scale(table: Table) -> Scale:
    return Scale(table.number("divide_by", 1e-6, 1e6))


def read_normalise(table: Table) -> Normalise:
    mean, std = table.numbers("mean"), table.numbers("std")
    if min(std) <= 0:
        raise table.wrong("std", list(std), "greater than 0")
    return Normalise(mean, std)


def read_cast(table: Table) -> Cast:
    return Cast(table.choice("dtype", DTYPES))


def _along_channels(numbers: tuple[float, ...], image: Image) -> NDArray[np.float32]:
    array = np.asarray(numbers, np.float32)
    return array if image.layout == NHWC or len(numbers) == 1 else array.reshape(-1, 1, 1)

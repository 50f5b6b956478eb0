"""What is known about the image between two steps, and what a step is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from neo.contract.tensors import Dim

if TYPE_CHECKING:
    from neo.processing.graph import Graph

MAX_SIDE = 16384
NHWC = "NHWC"
NCHW = "NCHW"
GRAY = "GRAY"
COLOURS = ("RGB", "BGR", GRAY)


@dataclass(frozen=True, slots=True)
class Image:
    """batch: the model's. height, width: pixels. colours: one of COLOURS. layout: NHWC or NCHW. dtype: numpy's name."""

    batch: Dim
    height: int
    width: int
    colours: str
    layout: str = NHWC
    dtype: str = "uint8"

    @property
    def channels(self) -> int:
        return 1 if self.colours == GRAY else 3

    @property
    def axes(self) -> tuple[int, int, int]:
        """Of height, width and channels."""
        return (1, 2, 3) if self.layout == NHWC else (2, 3, 1)

    @property
    def shape(self) -> tuple[Dim, ...]:
        size = (self.height, self.width)
        return (self.batch, *size, self.channels) if self.layout == NHWC else (self.batch, self.channels, *size)


class ImageStep(Protocol):
    """after: the image behind the step; raises UsageError if the step cannot take the image before it.

    emit: adds the nodes and returns the value behind them. reference: the same in numpy, float64 inside; takes and
    gives an array of image.shape.
    """

    def after(self, image: Image) -> Image: ...

    def emit(self, graph: Graph, value: str, image: Image) -> str: ...

    def reference(self, pixels: NDArray[Any], image: Image) -> NDArray[Any]: ...

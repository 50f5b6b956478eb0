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
    """What is known about an image between two steps."""

    #: of the model
    batch: Dim
    #: in pixels, as the width
    height: int
    width: int
    #: one of COLOURS
    colours: str
    #: NHWC or NCHW
    layout: str = NHWC
    #: as numpy names it
    dtype: str = "uint8"

    @property
    def channels(self) -> int:
        return 1 if self.colours == GRAY else 3

    @property
    def axes(self) -> tuple[int, int, int]:
        """Positions of height, width and channels."""
        return (1, 2, 3) if self.layout == NHWC else (2, 3, 1)

    @property
    def shape(self) -> tuple[Dim, ...]:
        size = (self.height, self.width)
        return (self.batch, *size, self.channels) if self.layout == NHWC else (self.batch, self.channels, *size)


class ImageStep(Protocol):
    """A step of pre-processing.

    after: the image after the step; raises UsageError if the step cannot take the image before it. emit: adds the nodes
    and returns their result. reference: the same in numpy, computed in float64; takes an array of image.shape.
    """

    def after(self, image: Image) -> Image: ...

    def emit(self, graph: Graph, value: str, image: Image) -> str: ...

    def reference(self, pixels: NDArray[Any], image: Image) -> NDArray[Any]: ...

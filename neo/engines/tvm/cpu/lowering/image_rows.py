"""Which rows that a convolution reads are rows of zeros around its image; ``schedules/zeros.py`` leaves them out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_MARK = "neo.rows"


@dataclass(frozen=True, slots=True)
class ImageRows:
    """Output h reads, with row k of the kernel, row stride * h + dilation * k of the padded image."""

    #: rows of zeros above the image
    begin: int
    #: rows of the image itself
    count: int
    stride: int
    dilation: int

    def share(self, taps: int, outputs: int) -> float:
        """Of zeros among the rows that so many rows of a kernel read for so many of the output."""
        reads = [self.stride * h + self.dilation * k for h in range(outputs) for k in range(taps)]
        return sum(not self.begin <= read < self.begin + self.count for read in reads) / len(reads)

    def attrs(self) -> dict[str, list[int]]:
        """For te.compute, of a sum over the rows of the kernel first. Outputs are [..., h, w, o]."""
        return {_MARK: [self.begin, self.count, self.stride, self.dilation]}


def image_rows_of(block: Any) -> ImageRows | None:
    """What lowering said of a TensorIR block; None if it said nothing."""
    found = block.annotations.get(_MARK)
    return None if found is None else ImageRows(*(int(number) for number in found))

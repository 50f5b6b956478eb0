"""Which rows that a convolution reads are zero padding; ``schedules/zeros.py`` skips them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_MARK = "neo.rows"


@dataclass(frozen=True, slots=True)
class ImageRows:
    """For output row h, kernel row k reads row stride * h + dilation * k of the padded image."""

    #: rows of zeros above the image
    begin: int
    #: rows of the image
    count: int
    stride: int
    dilation: int

    def share(self, taps: int, outputs: int) -> float:
        """Share of zero rows among those that are read. taps: rows of the kernel. outputs: rows of the output."""
        reads = [self.stride * h + self.dilation * k for h in range(outputs) for k in range(taps)]
        return sum(not self.begin <= read < self.begin + self.count for read in reads) / len(reads)

    def attrs(self) -> dict[str, list[int]]:
        """Attributes for te.compute of [..., h, w, o], a sum whose first reduction axis is the kernel's rows."""
        return {_MARK: [self.begin, self.count, self.stride, self.dilation]}


def image_rows_of(block: Any) -> ImageRows | None:
    """The attributes of a TensorIR block; None if it has none."""
    found = block.annotations.get(_MARK)
    return None if found is None else ImageRows(*(int(number) for number in found))

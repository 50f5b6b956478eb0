"""Which products are computed in AMX tiles, and how their rows lie in memory.

Their blocks carry an attribute, the mark, which ``schedules/amx.py`` looks for. Otherwise they are like any other
product of pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from neo.contract.device import Target
from neo.engines.tvm.cpu.lowering.window import Window
from neo.engines.tvm.cpu.units.amx import TILE_COLUMNS, Product
from neo.engines.tvm.cpu.units.tiles import FLOAT_BITS, choose_tile

MARK = "neo.tiles"
# with fewer rows, time is spent on reading weights from memory, which vectors do as fast as tiles
FEWEST_ROWS = 4


@dataclass(frozen=True, slots=True)
class Mark:
    """How the rows of a product lie in memory."""

    #: stride from one row of the inputs to the next
    row_bytes: int
    #: number of innermost reduction loops that read contiguous memory
    merged: int = 1
    #: 0: lines of an image are computed one by one. Else all as one, with this many rows from one line to the next,
    #: some of which are not results
    pitch: int = 0

    @property
    def attrs(self) -> dict[str, list[int]]:
        """Attributes for te.compute."""
        return {MARK: [self.row_bytes, self.merged, self.pitch]}


def mark_of(block: Any) -> Mark | None:
    """None if the TensorIR block is not computed in tiles."""
    found = block.annotations.get(MARK)
    return None if found is None else Mark(*(int(number) for number in found))


def whole_tiles(columns: int) -> int:
    return -(-columns // TILE_COLUMNS) * TILE_COLUMNS


@dataclass(frozen=True, slots=True)
class Sliding:
    """A convolution over padded images."""

    images: int
    #: (height, width)
    out: tuple[int, int]
    #: (height, width)
    kernel: tuple[int, int]
    window: Window
    #: width of the padded images
    pitch: int
    #: pairs of channels in a pixel
    pairs: int
    filters: int

    @property
    def merged(self) -> int:
        """How many of the innermost loops, over the kernel's rows, its columns and the channels, read contiguous
        memory.
        """
        return 2 if self.window.dilation[1] == 1 else 1

    @property
    def line(self) -> int:
        """Pixels of an image whose lines are computed as one, including the padding between them."""
        return (self.out[0] - 1) * self.pitch + self.out[1]

    @property
    def is_one_line(self) -> bool:
        """Is it faster to compute all lines of an image as one, although the padding between them is wasted?"""
        return self.window.strides == (1, 1) and self._as_one_line.cycles < self._line_by_line.cycles

    @property
    def product(self) -> Product:
        return self._as_one_line if self.is_one_line else self._line_by_line

    @property
    def _as_one_line(self) -> Product:
        return self._product(self.images, self.line)

    @property
    def _line_by_line(self) -> Product:
        return self._product(self.images * self.out[0], self.out[1])

    def _product(self, groups: int, rows: int) -> Product:
        runs, across = self.kernel if self.merged == 2 else (math.prod(self.kernel), 1)
        return Product(groups, rows, whole_tiles(self.filters), runs, across * self.pairs)


def pays(product: Product, columns: int, target: Target) -> bool:
    """Are AMX tiles faster than vectors of pairs? columns: of the result, without padding."""
    if product.rows < FEWEST_ROWS:
        return False
    tile = choose_tile(product.rows, columns, target.cpu.vector_bits // FLOAT_BITS, target.cpu.operand_registers)
    steps = product.groups * product.rows * columns / tile.lanes * product.runs * product.pairs
    return product.cycles < steps * tile.cost

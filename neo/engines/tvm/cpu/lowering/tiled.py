"""Which products are done in tiles of AMX, and how their rows lie in memory.

Loops that are meant for tiles carry a mark, for ``schedules/amx.py``; without it they are a product of pairs like any
other.
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
# of fewer, weights on their way from memory are what takes the time, and vectors read them as fast as tiles
FEWEST_ROWS = 4


@dataclass(frozen=True, slots=True)
class Mark:
    """How the rows of a product lie in memory."""

    #: from one row of the inputs to the next
    row_bytes: int
    #: so many of the innermost loops of the reduction go over neighbours in memory
    merged: int = 1
    #: rows from one line of an image to the next, of which not all are asked for; 0: all are
    pitch: int = 0

    @property
    def attrs(self) -> dict[str, list[int]]:
        """For te.compute."""
        return {MARK: [self.row_bytes, self.merged, self.pitch]}


def mark_of(block: Any) -> Mark | None:
    """None if the TensorIR block is not meant for tiles."""
    found = block.annotations.get(MARK)
    return None if found is None else Mark(*(int(number) for number in found))


def whole_tiles(columns: int) -> int:
    return -(-columns // TILE_COLUMNS) * TILE_COLUMNS


@dataclass(frozen=True, slots=True)
class Sliding:
    """A convolution over images that have their zeros around them."""

    images: int
    #: (height, width)
    out: tuple[int, int]
    #: (height, width)
    kernel: tuple[int, int]
    window: Window
    #: the images' width
    pitch: int
    #: of channels in a pixel
    pairs: int
    filters: int

    @property
    def merged(self) -> int:
        """How many of the loops over the kernel's rows, its columns and the channels go over neighbours in memory."""
        return 2 if self.window.dilation[1] == 1 else 1

    @property
    def line(self) -> int:
        """Pixels of an image of which all lines are one, with what lies between them."""
        return (self.out[0] - 1) * self.pitch + self.out[1]

    @property
    def is_one_line(self) -> bool:
        """Is it faster to compute what lies between the lines too?"""
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
    """Are tiles faster than pairs? columns: those that are asked for."""
    if product.rows < FEWEST_ROWS:
        return False
    tile = choose_tile(product.rows, columns, target.cpu.vector_bits // FLOAT_BITS, target.cpu.operand_registers)
    steps = product.groups * product.rows * columns / tile.lanes * product.runs * product.pairs
    return product.cycles < steps * tile.cost

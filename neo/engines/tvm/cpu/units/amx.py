"""Intel AMX: matrix products of bfloat16 in tiles of sixteen rows by sixteen columns.

A *tile* is a register of up to 16 rows of 64 bytes. ``tdpbf16ps`` multiplies a tile of inputs (one row of 32 channels
for each row of sums) by a tile of weights (one row for each pair of channels, with one pair for each column) and adds
the product to a tile of float32 sums. The rows of a tile are loaded with any constant stride, so neighbouring pixels of
an image in channels-last layout can be loaded without rearranging them. Every thread configures the shapes of its tiles
before it uses them.

Source: Intel 64 and IA-32 Architectures Optimization Reference Manual, chapter "Intel AMX"; the numbers below are of
Sapphire Rapids.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import tirx

TILE_ROWS = TILE_COLUMNS = TILE_PAIRS = 16
ROW_BYTES = 64
PAIR_BYTES = 4
# tiles of inputs in a block -> tiles of weights. There are enough independent sums to hide the latency of the products,
# and sums, inputs and weights fit the eight tile registers
ACROSS = {1: 3, 2: 2}

# in cycles of one core: throughput of products, however few rows they have; latency from one product to the next that
# adds to the same sums; loading a tile, which overlaps with products; storing a tile of sums and reading it again
PRODUCT_CYCLES, LATENCY_CYCLES, LOAD_CYCLES, STORE_CYCLES = 16, 52, 8, 32

Expression = Any


@dataclass(frozen=True, slots=True)
class Product:
    """A convolution or matrix product as AMX computes it.

    If tiles do not divide the rows or pairs, these are shared out evenly, and the last tile overlaps the one before it.
    Rows in both are computed twice. Pairs in both have zero weights in the later one, so they are added only once.
    """

    #: groups of rows; rows have a constant stride in memory only within a group
    groups: int
    #: in one group
    rows: int
    #: of the weights, padded to whole tiles
    columns: int
    #: contiguous runs of pairs that are added up for each sum
    runs: int
    #: in one run
    pairs: int

    @property
    def tall(self) -> int:
        """Tiles of inputs in a block."""
        return min(ACROSS, key=self._cycles)

    @property
    def across(self) -> int:
        """Tiles of weights in a block, one for each tile of columns; the last block may have fewer."""
        return ACROSS[self.tall]

    @property
    def blocks(self) -> int:
        """Blocks that the rows of a group are cut into."""
        return -(-self.rows // (self.tall * TILE_ROWS))

    @property
    def block_rows(self) -> int:
        return -(-self.rows // self.blocks)

    @property
    def heights(self) -> tuple[int, ...]:
        """Rows of each tile of a block."""
        upper = -(-self.block_rows // self.tall)
        return (upper, self.block_rows - upper)[: self.tall]

    @property
    def steps(self) -> int:
        """Products of tiles along one run."""
        return -(-self.pairs // TILE_PAIRS)

    @property
    def depth(self) -> int:
        """Pairs in one step."""
        return -(-self.pairs // self.steps)

    @property
    def cycles(self) -> float:
        """Estimated time on one core."""
        return self._cycles(self.tall)

    def _cycles(self, tall: int) -> float:
        tiles, across = self.columns // TILE_COLUMNS, ACROSS[tall]
        widths = [across] * (tiles // across) + [tiles % across] * (tiles % across > 0)
        step = sum(max(PRODUCT_CYCLES * tall * wide, LATENCY_CYCLES, LOAD_CYCLES * (tall + wide)) for wide in widths)
        blocks = self.groups * -(-self.rows // (tall * TILE_ROWS))
        return blocks * (self.runs * self.steps * step + LATENCY_CYCLES * len(widths) + STORE_CYCLES * tall * tiles)

    def sums_tile(self, upper: int, left: int) -> int:
        """Tile register of the sums of one product of a block."""
        return upper * self.across + left

    def inputs_tile(self, upper: int) -> int:
        return self.tall * self.across + upper

    def weights_tile(self, left: int) -> int:
        return self.tall * self.across + self.tall + left

    @property
    def configuration(self) -> tuple[int, ...]:
        """Operand of ``configure``: 64 bytes as eight 64-bit integers."""
        rows, row_bytes = [0] * 16, [0] * 16
        for upper, height in enumerate(self.heights):
            for tile in (self.sums_tile(upper, left) for left in range(self.across)):
                rows[tile], row_bytes[tile] = height, ROW_BYTES
            tile = self.inputs_tile(upper)
            rows[tile], row_bytes[tile] = height, self.depth * PAIR_BYTES
        for tile in (self.weights_tile(left) for left in range(self.across)):
            rows[tile], row_bytes[tile] = self.depth, ROW_BYTES
        palette = 1
        return struct.unpack("<8q", struct.pack("<B15x16H16B", palette, *row_bytes, *rows))

    @property
    def weights_bytes(self) -> int:
        return math.prod(self.packed_shape) * PAIR_BYTES

    @property
    def packed_shape(self) -> tuple[int, ...]:
        """Shape of the packed weights, in which every tile is contiguous."""
        return (self.columns // TILE_COLUMNS, self.runs, self.steps, self.depth, TILE_COLUMNS)

    def pack(self, array: NDArray[Any]) -> NDArray[Any]:
        """[..., columns] int32, the pairs run after run -> ``packed_shape``."""
        runs = array.reshape(self.runs, self.pairs, self.columns // TILE_COLUMNS, TILE_COLUMNS)
        packed = np.zeros(self.packed_shape, array.dtype)
        for step in range(self.steps):
            first, start = step * self.depth, min(step * self.depth, self.pairs - self.depth)
            tile = runs[:, first : start + self.depth].transpose(2, 0, 1, 3)
            packed[:, :, step, first - start :] = tile
        return packed


def configure(address: Expression) -> tirx.Stmt:
    """address: of a configuration. Sets all tiles to zero."""
    return _instruction("ldtilecfg", address)


def release() -> tirx.Stmt:
    """Tiles are no longer used: the operating system need not save them at a context switch."""
    return _instruction("tilerelease")


def zero(tile: int) -> tirx.Stmt:
    return _instruction("tilezero", _number(tile))


def load(tile: int, address: Expression, distance: int) -> tirx.Stmt:
    """address: of the first row. distance: bytes from one row to the next."""
    return _instruction("tileloadd64", _number(tile), address, tirx.const(distance, "int64"))


def store(tile: int, address: Expression, distance: int) -> tirx.Stmt:
    return _instruction("tilestored64", _number(tile), address, tirx.const(distance, "int64"))


def multiply(total: int, inputs: int, weights: int) -> tirx.Stmt:
    return _instruction("tdpbf16ps", _number(total), _number(inputs), _number(weights))


def _instruction(name: str, *operands: Expression) -> tirx.Stmt:
    return tirx.Evaluate(tirx.call_llvm_intrin("void", f"llvm.x86.{name}", *operands))


def _number(tile: int) -> Expression:
    return tirx.const(tile, "uint8")

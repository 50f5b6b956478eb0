"""Intel AMX: products of matrices in tiles, sixteen rows by sixteen columns, of pairs of bfloat16.

A *tile* is a register of up to 16 rows of 64 bytes. ``tdpbf16ps`` adds to a tile of float32 sums the product of two
tiles: one of inputs, with a row of 32 channels for each row of sums, and one of weights, with a row for each pair of
channels, in which every column has a pair. Rows are loaded from memory at any constant distance, so neighbouring pixels
of an image in channels-last layout are a tile as they lie there. How many rows, of how many bytes, a tile has is
configured by each thread before it uses them.

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
# how many tiles of weights a block takes at a time, by how many of inputs: so many that the sums, which wait for each
# other, keep the unit busy, and all find room in the eight tiles
ACROSS = {1: 3, 2: 2}

# cycles of one core: between the starts of two products, however few rows they have; from the start of one to that of
# the next that adds to the same sums; loading a tile, which happens meanwhile; writing a tile of sums and reading it
PRODUCT_CYCLES, LATENCY_CYCLES, LOAD_CYCLES, STORE_CYCLES = 16, 52, 8, 32

Expression = Any


@dataclass(frozen=True, slots=True)
class Product:
    """A convolution or matrix product as AMX sees it.

    Where tiles do not divide rows or pairs, these are shared out evenly and the last tile overlaps the one before: rows
    of both are computed twice; the weights of pairs that two steps have are zero in the later one.
    """

    #: of rows; rows are at a constant distance in memory only within a group
    groups: int
    #: of one group
    rows: int
    #: of the weights, in whole tiles
    columns: int
    #: every sum has so many runs of pairs
    runs: int
    #: of one run, neighbours in memory
    pairs: int

    @property
    def tall(self) -> int:
        """How many tiles of inputs a block takes at a time."""
        return min(ACROSS, key=self._cycles)

    @property
    def across(self) -> int:
        """How many tiles of weights, and of columns, a block takes at a time; the last one may have fewer."""
        return ACROSS[self.tall]

    @property
    def blocks(self) -> int:
        """How many blocks the rows of a group are cut into."""
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
        """How many products of tiles a run takes."""
        return -(-self.pairs // TILE_PAIRS)

    @property
    def depth(self) -> int:
        """Pairs that one step takes."""
        return -(-self.pairs // self.steps)

    @property
    def cycles(self) -> float:
        """Of one core."""
        return self._cycles(self.tall)

    def _cycles(self, tall: int) -> float:
        tiles, across = self.columns // TILE_COLUMNS, ACROSS[tall]
        widths = [across] * (tiles // across) + [tiles % across] * (tiles % across > 0)
        step = sum(max(PRODUCT_CYCLES * tall * wide, LATENCY_CYCLES, LOAD_CYCLES * (tall + wide)) for wide in widths)
        blocks = self.groups * -(-self.rows // (tall * TILE_ROWS))
        return blocks * (self.runs * self.steps * step + LATENCY_CYCLES * len(widths) + STORE_CYCLES * tall * tiles)

    def sums_tile(self, upper: int, left: int) -> int:
        """The number of a tile: of the sums of one of the products of a block."""
        return upper * self.across + left

    def inputs_tile(self, upper: int) -> int:
        return self.tall * self.across + upper

    def weights_tile(self, left: int) -> int:
        return self.tall * self.across + self.tall + left

    @property
    def configuration(self) -> tuple[int, ...]:
        """What ``configure`` loads: 64 bytes as eight numbers of 64 bits."""
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
        """Of the weights: a tile is one piece of memory."""
        return (self.columns // TILE_COLUMNS, self.runs, self.steps, self.depth, TILE_COLUMNS)

    def pack(self, array: NDArray[Any]) -> NDArray[Any]:
        """[..., columns] int32, pairs in the order of the runs -> ``packed_shape``."""
        runs = array.reshape(self.runs, self.pairs, self.columns // TILE_COLUMNS, TILE_COLUMNS)
        packed = np.zeros(self.packed_shape, array.dtype)
        for step in range(self.steps):
            first, start = step * self.depth, min(step * self.depth, self.pairs - self.depth)
            tile = runs[:, first : start + self.depth].transpose(2, 0, 1, 3)
            packed[:, :, step, first - start :] = tile
        return packed


def configure(place: Expression) -> tirx.Stmt:
    """place: the address of a configuration. All tiles become zero."""
    return _instruction("ldtilecfg", place)


def release() -> tirx.Stmt:
    """The thread needs no tiles any more: the kernel need not save them."""
    return _instruction("tilerelease")


def zero(tile: int) -> tirx.Stmt:
    return _instruction("tilezero", _number(tile))


def load(tile: int, place: Expression, distance: int) -> tirx.Stmt:
    """distance: from row to row, in bytes."""
    return _instruction("tileloadd64", _number(tile), place, tirx.const(distance, "int64"))


def store(tile: int, place: Expression, distance: int) -> tirx.Stmt:
    return _instruction("tilestored64", _number(tile), place, tirx.const(distance, "int64"))


def multiply(total: int, inputs: int, weights: int) -> tirx.Stmt:
    return _instruction("tdpbf16ps", _number(total), _number(inputs), _number(weights))


def _instruction(name: str, *operands: Expression) -> tirx.Stmt:
    return tirx.Evaluate(tirx.call_llvm_intrin("void", f"llvm.x86.{name}", *operands))


def _number(tile: int) -> Expression:
    return tirx.const(tile, "uint8")

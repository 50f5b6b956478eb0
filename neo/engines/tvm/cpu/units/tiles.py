"""How many outputs a kernel computes at a time, in registers.

Lowering uses it to round rows up to a number that tiles well, schedules to cut their loops: both have to agree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FLOAT_BITS = 32
FLOAT_BYTES = FLOAT_BITS // 8
WIDEST_TILE = 6
# independent multiply-adds that keep the units busy: a latency of 4 cycles, two units
BUSY = 8
# a tile has one more, for no order of instructions is perfect
BUSY_TILE = BUSY + 1
# share of the time that rounding rows up has to gain: leaving out again what is too much costs a little too, and the
# model of costs is no more exact than that
ROUNDING_COST = 0.005
# steps of a sum that are unrolled, as a 3 x 3 window has
STEPS_UNROLLED = 9
WIDEST_STRIP = 2
# vectors of outputs, which keep the units busy
STRIDED_STRIP = 7
# what another number of vectors costs, as the logarithm of a ratio of outputs
OTHER_WIDTH = 0.2
# of the cache, on every processor that is a target
LINE_BYTES = 64
# share of a multiply-add that a load costs where it does not hide behind others
LOAD_COST = 0.25


@dataclass(frozen=True, slots=True)
class Tile:
    """A register tile: rows x vectors x lanes outputs that are computed at a time."""

    rows: int
    vectors: int
    lanes: int

    @property
    def cost(self) -> float:
        """Time per multiply-add, in units of the shortest possible.

        One step of the reduction loads ``vectors`` weights and ``rows`` inputs for rows x vectors multiply-adds.
        """
        work = self.rows * self.vectors
        return (1 + LOAD_COST * (self.rows + self.vectors) / work) * max(1.0, BUSY_TILE / work)


def choose_tile(rows: int, columns: int, lanes: int, registers: int) -> Tile:
    """rows, columns: extents of the two innermost output dimensions. The best of ``list_tiles``."""
    return list_tiles(rows, columns, lanes, registers)[0]


def list_tiles(rows: int, columns: int, lanes: int, registers: int) -> list[Tile]:
    """Every tile that divides rows and columns exactly and fits the registers, the cheapest first.

    Accumulators, weights and one input have to fit: an accumulator that lives on the stack instead makes a product
    wait for a store and a load at every step, which was seen to take 2.5 times as long.
    """
    vector = choose_lanes(columns, lanes)
    tiles = [
        Tile(r, v, vector)
        for v in range(1, WIDEST_TILE + 1)
        for r in range(1, min(rows, registers) + 1)
        if columns % (vector * v) == 0 and rows % r == 0 and v * (r + 1) < registers
    ]
    return sorted(tiles, key=lambda tile: tile.cost)


def choose_width(rows: int, vectors: int, registers: int) -> int:
    """How many vectors of columns a tile of so many rows has, where that many have to be divided."""
    possible = [v for v in range(1, WIDEST_TILE + 1) if vectors % v == 0 and (v == 1 or v * (rows + 1) < registers)]
    return min(possible, key=lambda v: Tile(rows, v, 1).cost)


def round_up_vectors(columns: int, rows: int, lanes: int, registers: int) -> int:
    """The number of vectors, enough for so many columns, that takes the least time to compute in tiles of so many rows:
    13 have no good tile, and computing 14 is faster.
    """
    least = -(-columns // lanes)
    candidates = range(least, least + WIDEST_TILE)
    return min(candidates, key=lambda n: n * Tile(rows, choose_width(rows, n, registers), lanes).cost)


def choose_strip(rows: int, columns: int, lanes: int, registers: int, stride: int) -> Tile:
    """For depthwise convolutions, in which no input serves several columns. The best of ``list_strips``."""
    return list_strips(rows, columns, lanes, registers, stride)[0]


def list_strips(rows: int, columns: int, lanes: int, registers: int, stride: int) -> list[Tile]:
    """Every tile of one or two vectors of columns, the most promising first. stride: inputs from one row to the next.

    Neighbouring rows share inputs, so there are as many as leave inputs and weights room in registers. With a stride
    fewer inputs are shared and more are needed, and the whole of a cache line is better used while it is there.
    """
    most = max(1, registers // 2)
    best = max(1, most - 2) if stride == 1 else STRIDED_STRIP
    width = 2 if stride > 1 and lanes * FLOAT_BITS < 8 * LINE_BYTES else 1

    def far(tile: Tile) -> float:
        return abs(math.log(tile.rows * tile.vectors / best)) + OTHER_WIDTH * (tile.vectors != width)

    strips = [tile for tile in list_tiles(rows, columns, lanes, registers) if tile.vectors <= WIDEST_STRIP]
    return sorted(strips, key=lambda tile: (tile.vectors * tile.rows > most, far(tile)))


def choose_lanes(columns: int, lanes: int) -> int:
    """The widest power of two that divides columns; another divisor only where it is more than twice as wide: the
    compiler cuts a vector of 12 into pieces, but for 10 columns that is still better than vectors of 2.
    """
    divisors = [n for n in range(1, min(columns, lanes) + 1) if columns % n == 0]
    return max(divisors, key=lambda n: n if n & (n - 1) == 0 else n / 2)


def round_up_rows(rows: int, columns: int, lanes: int, registers: int) -> int:
    """The number of rows, no less than these, that takes the least time to compute: 197 rows have no good tile, and
    computing 198 is faster.
    """
    if rows == 1:
        return 1

    def time(n: int) -> float:
        return n * choose_tile(n, columns, lanes, registers).cost * (1 + ROUNDING_COST * (n > rows))

    return min(range(rows, rows + registers), key=time)


def round_up_strips(rows: int, columns: int, lanes: int, registers: int, stride: int) -> int:
    """Likewise for ``choose_strip``: a strip reads the inputs of about two rows more than it has."""
    candidates = range(rows, rows + registers // 2)
    return min(candidates, key=lambda n: n * (1 + 2 / choose_strip(n, columns, lanes, registers, stride).rows))

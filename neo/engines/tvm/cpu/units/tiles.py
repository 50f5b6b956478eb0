"""Register tiles: how many outputs a kernel computes at a time.

Lowering rounds rows up to a number that tiles well, and schedules cut their loops into the same tiles: both ask here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FLOAT_BITS = 32
FLOAT_BYTES = FLOAT_BITS // 8
WIDEST_TILE = 6
# independent multiply-adds that hide their latency: 4 cycles, in each of two units
BUSY = 8
# a tile should have one more, because instructions are not scheduled perfectly
BUSY_TILE = BUSY + 1
# rows are rounded up only if that saves more than this share of the time: cropping the result costs something too, and
# the cost model is not more accurate than that
ROUNDING_COST = 0.005
# reductions of at most so many steps are unrolled: a 3 x 3 window
STEPS_UNROLLED = 9
WIDEST_STRIP = 2
# vectors in the best strip for a strided depthwise convolution; enough to hide the latency
STRIDED_STRIP = 7
# penalty for another number of vectors than the preferred one, in units of log(ratio of outputs)
OTHER_WIDTH = 0.2
# cache line; the same on all processors that are targets
LINE_BYTES = 64
# cost of a load relative to a multiply-add: most loads are hidden behind multiply-adds
LOAD_COST = 0.25


@dataclass(frozen=True, slots=True)
class Tile:
    """A register tile: rows x vectors x lanes outputs."""

    rows: int
    vectors: int
    lanes: int

    @property
    def cost(self) -> float:
        """Time per multiply-add relative to the shortest possible.

        One step of the reduction loads ``vectors`` weights and ``rows`` inputs for rows x vectors multiply-adds.
        """
        work = self.rows * self.vectors
        return (1 + LOAD_COST * (self.rows + self.vectors) / work) * max(1.0, BUSY_TILE / work)


def choose_tile(rows: int, columns: int, lanes: int, registers: int) -> Tile:
    """rows, columns: extents of the two innermost output dimensions. The best of ``list_tiles``."""
    return list_tiles(rows, columns, lanes, registers)[0]


def list_tiles(rows: int, columns: int, lanes: int, registers: int) -> list[Tile]:
    """Every tile that divides rows and columns and fits the registers, the cheapest first.

    Accumulators, weights and one input have to fit. An accumulator that is spilled to the stack adds a store and a load
    to the dependency chain of every step, which was measured to take 2.5 times as long.
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
    """How many vectors a tile of this many rows should have, among the divisors of ``vectors``."""
    possible = [v for v in range(1, WIDEST_TILE + 1) if vectors % v == 0 and (v == 1 or v * (rows + 1) < registers)]
    return min(possible, key=lambda v: Tile(rows, v, 1).cost)


def round_up_vectors(columns: int, rows: int, lanes: int, registers: int) -> int:
    """The number of vectors, enough for these columns, that takes the least time in tiles of this many rows. It may be
    more than needed: 13 vectors have no good tile, so computing 14 is faster.
    """
    least = -(-columns // lanes)
    candidates = range(least, least + WIDEST_TILE)
    return min(candidates, key=lambda n: n * Tile(rows, choose_width(rows, n, registers), lanes).cost)


def choose_strip(rows: int, columns: int, lanes: int, registers: int, stride: int) -> Tile:
    """The best of ``list_strips``."""
    return list_strips(rows, columns, lanes, registers, stride)[0]


def list_strips(rows: int, columns: int, lanes: int, registers: int, stride: int) -> list[Tile]:
    """Tiles for depthwise convolutions, in which no input is used for several columns; the most promising first.

    stride: in inputs, from one row to the next. Neighbouring rows share inputs, so a strip has as many rows as leave
    room for inputs and weights in registers. With a stride, fewer inputs are shared and more are loaded: a strip then
    covers a whole cache line while it is in the cache.
    """
    most = max(1, registers // 2)
    best = max(1, most - 2) if stride == 1 else STRIDED_STRIP
    width = 2 if stride > 1 and lanes * FLOAT_BITS < 8 * LINE_BYTES else 1

    def far(tile: Tile) -> float:
        return abs(math.log(tile.rows * tile.vectors / best)) + OTHER_WIDTH * (tile.vectors != width)

    strips = [tile for tile in list_tiles(rows, columns, lanes, registers) if tile.vectors <= WIDEST_STRIP]
    return sorted(strips, key=lambda tile: (tile.vectors * tile.rows > most, far(tile)))


def choose_lanes(columns: int, lanes: int) -> int:
    """The widest power of two that divides columns, or another divisor if that is more than twice as wide. LLVM splits
    a vector of 12 into pieces; for 10 columns, vectors of 10 are still better than vectors of 2.
    """
    divisors = [n for n in range(1, min(columns, lanes) + 1) if columns % n == 0]
    return max(divisors, key=lambda n: n if n & (n - 1) == 0 else n / 2)


def round_up_rows(rows: int, columns: int, lanes: int, registers: int) -> int:
    """The number of rows, at least ``rows``, that takes the least time: 197 rows have no good tile, so computing 198 is
    faster.
    """
    if rows == 1:
        return 1

    def time(n: int) -> float:
        return n * choose_tile(n, columns, lanes, registers).cost * (1 + ROUNDING_COST * (n > rows))

    return min(range(rows, rows + registers), key=time)


def round_up_strips(rows: int, columns: int, lanes: int, registers: int, stride: int) -> int:
    """Likewise for ``choose_strip``. A strip reads the inputs of about two rows more than it has."""
    candidates = range(rows, rows + registers // 2)
    return min(candidates, key=lambda n: n * (1 + 2 / choose_strip(n, columns, lanes, registers, stride).rows))

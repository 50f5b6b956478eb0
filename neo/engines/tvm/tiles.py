"""How many outputs a kernel computes at a time, in registers.

Lowering uses it to round rows up to a number that tiles well, schedules to cut their loops: both have to agree.
"""

from __future__ import annotations

from dataclasses import dataclass

WIDEST_TILE = 6
# independent multiply-adds that keep the units busy: a latency of 4 cycles, two units
BUSY = 8
# steps of a sum that are unrolled, as a 3 x 3 window has
STEPS_UNROLLED = 9
# vectors of sums at a time in depthwise convolutions, by measurement of all tiles for the layers of MobileNetV2 and
# EfficientNet-B0: with vectors of 512 bits the first where the steps are unrolled, the second where not (1.2 to 1.8
# times as fast as the tile that suits a product), with shorter vectors the third (1.2 to 2.6 times)
WIDE_LANES = 16
SUMS_APART_UNROLLED, SUMS_APART_LONG, SUMS_APART = range(2, 3), range(12, 17), range(4, 9)
# tiles that suit a product are worth measuring there too, so many of them
LIKE_PRODUCTS = 3
# share of a multiply-add that a load costs where it does not hide behind others
LOAD_COST = 0.25


@dataclass(frozen=True, slots=True)
class Tile:
    """rows x vectors x lanes outputs at a time."""

    rows: int
    vectors: int
    lanes: int

    @property
    def cost(self) -> float:
        """Time per multiply-add, in units of the shortest possible.

        One step of the reduction loads ``vectors`` weights and ``rows`` inputs for rows x vectors multiply-adds.
        """
        work = self.rows * self.vectors
        return (1 + LOAD_COST * (self.rows + self.vectors) / work) * max(1.0, BUSY / work)


def choose_tile(rows: int, columns: int, lanes: int, registers: int) -> Tile:
    """rows, columns: extents of the two innermost output dimensions. The cheapest of ``list_tiles``."""
    return min(list_tiles(rows, columns, lanes, registers), key=lambda tile: tile.cost)


def list_tiles(rows: int, columns: int, lanes: int, registers: int) -> list[Tile]:
    """Every tile that divides rows and columns exactly and fits the registers.

    Accumulators, weights and one input have to fit: an accumulator that lives on the stack instead makes a product
    wait for a store and a load at every step, which was seen to take 2.5 times as long.
    """
    vector = choose_lanes(columns, lanes)
    return [
        Tile(r, v, vector)
        for v in range(1, WIDEST_TILE + 1)
        for r in range(1, min(rows, registers) + 1)
        if columns % (vector * v) == 0 and rows % r == 0 and v * (r + 1) < registers
    ]


def order_apart(tiles: list[Tile], steps: int, *, weighted: bool) -> list[Tile]:
    """The most promising first, for sums of so many steps that share nothing between columns: a wider tile saves no
    loads there, and takes registers. weighted: with weights, as a depthwise convolution has them, not a pooling.
    """
    by_cost = sorted(tiles, key=lambda tile: tile.cost)
    narrow = [tile for tile in by_cost if tile.vectors == 1 and tile.rows < SUMS_APART_LONG.stop]
    tall = (
        tile for tile in by_cost if tile.rows >= 2 * tile.vectors and tile.rows * tile.vectors in _sums(tile, steps)
    )
    best = sorted(tall, key=lambda tile: tile.vectors)[:1] if weighted else []
    return list(dict.fromkeys([*best, *by_cost[:LIKE_PRODUCTS], *narrow, *by_cost]))


def _sums(tile: Tile, steps: int) -> range:
    """How many vectors of sums are best at a time where nothing is shared between columns."""
    if tile.lanes < WIDE_LANES:
        return SUMS_APART
    return SUMS_APART_UNROLLED if steps <= STEPS_UNROLLED else SUMS_APART_LONG


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
    candidates = range(rows, rows + registers)
    return min(candidates, key=lambda n: n * choose_tile(n, columns, lanes, registers).cost)

"""In which pieces a processor computes a recurrence.

Per step a recurrence is a product of the hidden states, (batch, units), with the recurrent weights, and the gates. The
product is cut like any other into register tiles: some rows of the batch x LANES units of some gates. Many rows use a
weight that was loaded once; one row alone has too few independent sums to keep the multipliers busy, so its sums are
split over the steps of the reduction instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from neo.contract.device import Target
from neo.engines.tvm.cpu.units.threads import PARALLEL_STEP_WORK, PARALLEL_WORK
from neo.engines.tvm.cpu.units.tiles import BUSY, FLOAT_BITS, Tile
from neo.engines.tvm.ir.recurrence import LANES, Recurrence


class Spread(Enum):
    """What threads share. TILES: of all directions; they never wait for each other. BLOCKS: the units of every step, at
    whose end they do.
    """

    NOTHING = "nothing"
    TILES = "tiles"
    BLOCKS = "blocks"


@dataclass(frozen=True, slots=True)
class Blocking:
    """The register tiles of a recurrence."""

    #: of each group: how many are summed at a time
    gates: tuple[int, ...]
    #: that the batch's rows are cut into
    tiles: int
    #: what threads share
    spread: Spread
    #: of LANES units
    vectors: int

    def heights(self, batch: int) -> tuple[tuple[int, int], ...]:
        """((rows of a tile, how many tiles), ...): the first tiles have a row more than the others."""
        rows, more = divmod(batch, self.tiles)
        found = ((rows + 1, more), (rows, self.tiles - more))
        return tuple((height, count) for height, count in found if count)

    def splits(self, rows: int, gates: int) -> int:
        """So many sums for each output, every one over its share of the steps."""
        return max(1, BUSY // (rows * gates * self.vectors))


def choose_blocking(spec: Recurrence, target: Target) -> Blocking:
    vectors = max(1, LANES * FLOAT_BITS // target.cpu.vector_bits)
    choices = [_tile(spec.batch, gates, vectors, target.cpu.operand_registers) for gates in spec.groups]
    tiles = -(-spec.batch // min(rows for rows, _ in choices))
    spread = _spread(spec, target, tiles)
    # threads to a direction
    threads = max(1, target.cpu.cores // spec.directions)
    if spread is Spread.TILES and tiles >= threads:
        tiles = min(spec.batch, -(-tiles // threads) * threads)
    return Blocking(tuple(gates for _, gates in choices), tiles, spread, vectors)


def _tile(rows: int, gates: int, vectors: int, registers: int) -> tuple[int, int]:
    """(most rows of a tile, gates at a time): the cheapest that fits the registers."""

    def cost(choice: tuple[int, int]) -> float:
        most, at_a_time = choice
        heights = [rows // n + (i < rows % n) for n in [-(-rows // most)] for i in range(n)]
        return sum(height * Tile(height, at_a_time * vectors, 1).cost for height in heights)

    possible = [
        (most, at_a_time)
        for at_a_time in range(1, gates + 1)
        for most in range(1, registers + 1)
        if gates % at_a_time == 0 and _fits(most, at_a_time * vectors, registers)
    ]
    return min(possible, key=cost, default=(1, 1))


def _fits(rows: int, vectors: int, registers: int) -> bool:
    """Weights are kept for the rows after the first."""
    return rows * vectors + (vectors if rows > 1 else 1) < registers


def _spread(spec: Recurrence, target: Target, tiles: int) -> Spread:
    """Tiles are not made lower for the threads' sake: more of them would read the weights more often than they gain,
    and on one thread they are a loss.
    """
    if target.cpu.cores == 1 or spec.step_work * spec.steps < PARALLEL_WORK:
        return Spread.NOTHING
    items = tiles * spec.directions
    is_long = spec.directions == 1 and spec.blocks > 1 and spec.step_work >= PARALLEL_STEP_WORK
    if items < target.cpu.cores and is_long:
        return Spread.BLOCKS
    return Spread.TILES if items > 1 else Spread.NOTHING

"""Blocking of a recurrence: register tiles and threads.

Each time step multiplies the hidden states, (batch, units), by the recurrent weights and applies the gates. The product
is cut into register tiles: some rows of the batch x LANES units of some gates. With many rows, each loaded weight is
used many times. A single row has too few independent sums to hide the latency of multiply-adds, so each sum is split
over the steps of the reduction.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from neo.contract.device import Target
from neo.engines.tvm.cpu.units.threads import PARALLEL_STEP_WORK, PARALLEL_WORK
from neo.engines.tvm.cpu.units.tiles import BUSY, FLOAT_BITS, Tile
from neo.engines.tvm.ir.recurrence import LANES, Recurrence


class Spread(Enum):
    """What is divided between threads."""

    NOTHING = "nothing"
    #: tiles of rows of all directions; threads never wait for each other
    TILES = "tiles"
    #: blocks of units; threads meet at a barrier after every time step
    BLOCKS = "blocks"


@dataclass(frozen=True, slots=True)
class Blocking:
    """The register tiles of a recurrence."""

    #: for each group: gates in one tile
    gates: tuple[int, ...]
    #: into how many tiles the rows of the batch are cut
    tiles: int
    spread: Spread
    #: vectors in LANES units
    vectors: int

    def heights(self, batch: int) -> tuple[tuple[int, int], ...]:
        """((rows of a tile, number of such tiles), ...): the first tiles may have one row more than the others."""
        rows, more = divmod(batch, self.tiles)
        found = ((rows + 1, more), (rows, self.tiles - more))
        return tuple((height, count) for height, count in found if count)

    def splits(self, rows: int, gates: int) -> int:
        """Into how many partial sums each output is split, so that there are enough independent multiply-adds."""
        return max(1, BUSY // (rows * gates * self.vectors))


def choose_blocking(spec: Recurrence, target: Target) -> Blocking:
    vectors = max(1, LANES * FLOAT_BITS // target.cpu.vector_bits)
    choices = [_tile(spec.batch, gates, vectors, target.cpu.operand_registers) for gates in spec.groups]
    tiles = -(-spec.batch // min(rows for rows, _ in choices))
    spread = _spread(spec, target, tiles)
    # threads for each direction
    threads = max(1, target.cpu.cores // spec.directions)
    if spread is Spread.TILES and tiles >= threads:
        tiles = min(spec.batch, -(-tiles // threads) * threads)
    return Blocking(tuple(gates for _, gates in choices), tiles, spread, vectors)


def _tile(rows: int, gates: int, vectors: int, registers: int) -> tuple[int, int]:
    """(most rows, gates) of the cheapest tile that fits the registers."""

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
    """Do accumulators and weights fit? Weights stay in registers if several rows use them."""
    return rows * vectors + (vectors if rows > 1 else 1) < registers


def _spread(spec: Recurrence, target: Target, tiles: int) -> Spread:
    """Tiles keep their height even if there are fewer of them than threads: more tiles would read the weights more
    often, which costs more than it gains, and is a pure loss on one thread.
    """
    if target.cpu.cores == 1 or spec.step_work * spec.steps < PARALLEL_WORK:
        return Spread.NOTHING
    items = tiles * spec.directions
    is_long = spec.directions == 1 and spec.blocks > 1 and spec.step_work >= PARALLEL_STEP_WORK
    if items < target.cpu.cores and is_long:
        return Spread.BLOCKS
    return Spread.TILES if items > 1 else Spread.NOTHING

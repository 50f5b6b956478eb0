"""Which loops prefetch the weights of the next columns; ``codegen/prefetch.py`` adds the instructions."""

from __future__ import annotations

import math

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV

from neo.engines.tvm.cpu.units.tiles import Tile

# annotation of a loop over tiles: [name of the weights, columns, matrices, elements, rows], see ``fetch_ahead``
FOLLOWED_BY = "neo.followed_by"
# fewest rows of a product for which prefetching pays, up to 2.6 times as fast. With fewer, prefetches compete with the
# reads themselves: products took up to 1.4 times as long
_LEAST_ROWS = 12


def fetch_ahead(schedule: Schedule, tiles: LoopRV, tile: Tile, position: int, matrices: int) -> None:
    """Annotate the fused loop over a product's tiles, in which tiles of rows are innermost.

    position: index of the packed weights among the function's parameters. matrices: number of products, each with its
    own weights.
    """
    weights = schedule.mod["main"].params[position]
    columns, *block = (int(dim) for dim in weights.shape)
    elements = math.prod(block) // matrices
    rows = int(schedule.get(tiles).extent) // (columns * matrices)
    if columns * matrices > 1 and rows * tile.rows >= _LEAST_ROWS:
        schedule.annotate(tiles, FOLLOWED_BY, [weights.name, columns, matrices, elements, rows])

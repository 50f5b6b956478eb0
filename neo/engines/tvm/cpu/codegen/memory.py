"""Where a model's intermediate results lie: one piece of memory, in which results that are not needed at the same time
share places.

Greedy by size, after Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020: the largest
result first, each at the lowest place that nothing has while it is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from neo.runtime.engine_folder import ALIGNMENT_BYTES

# Between results of a page and more. Their sizes are often multiples of a page, and of places whose addresses end
# alike a processor takes a load for one of what was just stored, and waits ("4K aliasing" in Intel's manual)
PAGE_BYTES, SPACE_BYTES = 4096, 5 * ALIGNMENT_BYTES


@dataclass(slots=True, eq=False)
class Block:
    """Memory for one result. first, last: steps that write or read it. offset: in the one piece, when it is known."""

    size: int
    first: int
    last: int
    offset: int = 0

    @property
    def end(self) -> int:
        space = SPACE_BYTES if self.size >= PAGE_BYTES else 0
        return self.offset + -(-self.size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES + space

    def meets(self, other: Block) -> bool:
        """Are both needed at some time?"""
        return self.first <= other.last and other.first <= self.last


def place_blocks(blocks: Sequence[Block]) -> int:
    """Give every block an offset; -> bytes of the whole."""
    placed: list[Block] = []
    for block in sorted(blocks, key=lambda block: -block.size):
        block.offset = 0
        for other in placed:  # in the order of their offsets
            if block.meets(other):
                if block.end <= other.offset:
                    break
                block.offset = max(block.offset, other.end)
        placed.append(block)
        placed.sort(key=lambda block: block.offset)
    return max((block.end for block in placed), default=0)

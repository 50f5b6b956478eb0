"""Offsets for a model's intermediate results in one workspace: results that are never live together share memory.

Greedy by size, after Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020: the largest
result first, each at the lowest offset that is free while it is live.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from neo.runtime.engine_folder import ALIGNMENT_BYTES

# Sizes of results are often multiples of a page. Without a gap between them loads and stores of two results would have
# the same lower 12 bits of address, and the processor would take a load for one of a store just before it (4K aliasing)
PAGE_BYTES, GAP_BYTES = 4096, 5 * ALIGNMENT_BYTES


@dataclass(slots=True, eq=False)
class Allocation:
    """Memory for one result."""

    #: bytes
    size: int
    #: the first call that writes it, and the last that reads it
    first: int
    last: int
    #: in the workspace, from ``assign_offsets``
    offset: int = 0

    @property
    def end(self) -> int:
        """Behind it, with what is left free there."""
        gap = GAP_BYTES if self.size >= PAGE_BYTES else 0
        return self.offset + -(-self.size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES + gap

    def is_live_with(self, other: Allocation) -> bool:
        return self.first <= other.last and other.first <= self.last


def assign_offsets(allocations: Sequence[Allocation]) -> int:
    """-> bytes of the workspace."""
    assigned: list[Allocation] = []
    for allocation in sorted(allocations, key=lambda allocation: -allocation.size):
        allocation.offset = 0
        for other in assigned:  # by offset
            if allocation.is_live_with(other):
                if allocation.end <= other.offset:
                    break
                allocation.offset = max(allocation.offset, other.end)
        assigned.append(allocation)
        assigned.sort(key=lambda allocation: allocation.offset)
    return max((allocation.end for allocation in assigned), default=0)

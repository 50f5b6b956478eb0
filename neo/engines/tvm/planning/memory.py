"""Offsets of a model's intermediate results in one workspace. Results whose lifetimes do not overlap may share memory.

Greedy by size (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020): the largest
result first, each at the lowest offset that is free during its lifetime.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from neo.runtime.engine_folder import ALIGNMENT_BYTES

# Sizes of results are often multiples of 4096. Without a gap, loads and stores of two neighbouring results would agree
# in the lower 12 bits of their addresses, and the processor would make loads wait for unrelated stores (4K aliasing)
PAGE_BYTES, GAP_BYTES = 4096, 5 * ALIGNMENT_BYTES


@dataclass(slots=True, eq=False)
class Allocation:
    """Memory for one result."""

    #: in bytes
    size: int
    #: index of the first call that writes it
    first: int
    #: index of the last call that reads it
    last: int
    #: in the workspace; set by ``assign_offsets``
    offset: int = 0

    @property
    def end(self) -> int:
        """Offset after it, including the gap."""
        gap = GAP_BYTES if self.size >= PAGE_BYTES else 0
        return self.offset + -(-self.size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES + gap

    def is_live_with(self, other: Allocation) -> bool:
        return self.first <= other.last and other.first <= self.last


def assign_offsets(allocations: Sequence[Allocation]) -> int:
    """Sets the offset of each allocation; -> size of the workspace in bytes."""
    assigned: list[Allocation] = []
    for allocation in sorted(allocations, key=lambda allocation: -allocation.size):
        allocation.offset = 0
        for other in assigned:  # sorted by offset
            if allocation.is_live_with(other):
                if allocation.end <= other.offset:
                    break
                allocation.offset = max(allocation.offset, other.end)
        assigned.append(allocation)
        assigned.sort(key=lambda allocation: allocation.offset)
    return max((allocation.end for allocation in assigned), default=0)

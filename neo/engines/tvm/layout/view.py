"""Channels behind the pixels: where the dimensions of a tensor are then."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class View:
    """Where the dimensions of a tensor are once its channels are last: the batch, the pixels, the channels."""

    rank: int
    #: dimensions of pixels; before the move they are the last ones
    spatial: int

    @property
    def order(self) -> tuple[int, ...]:
        """Which of its dimensions comes where."""
        first = self.rank - self.spatial
        return 0, *range(first, self.rank), *range(1, first)

    @property
    def back(self) -> tuple[int, ...]:
        """The way back from that order."""
        return tuple(self.order.index(axis) for axis in range(self.rank))

    @property
    def is_plain(self) -> bool:
        """Nothing changes its place."""
        return self.order == tuple(range(self.rank))

    def axis(self, axis: int) -> int:
        """Where one of the tensor's dimensions is."""
        return self.back[axis % self.rank]

    def moves(self, shape: Sequence[int]) -> bool:
        """Do elements of a tensor of that shape change their place in memory?"""
        long = [axis for axis in self.order if shape[axis] > 1]
        return long != sorted(long)

    def without(self, axes: Sequence[int]) -> View:
        """What is left of it without these dimensions."""
        gone = {axis % self.rank for axis in axes}
        spatial = sum(axis >= self.rank - self.spatial for axis in gone)
        return View(self.rank - len(gone), self.spatial - spatial)

    def regrouped(self, before: Sequence[int], after: Sequence[int]) -> View | None:
        """Of the tensor in a shape of as many elements, where both orders are the same in memory: pixels are still
        pixels, and channels channels. None where they are not.
        """
        if not before or not after or before[0] != after[0]:
            return None
        pixels = math.prod(before[self.rank - self.spatial :])
        channels = math.prod(before[1 : self.rank - self.spatial])
        found = [
            View(len(after), spatial)
            for spatial in range(len(after))
            if math.prod(after[len(after) - spatial :]) == pixels
            and math.prod(after[1 : len(after) - spatial]) == channels
        ]
        # of several, which differ in dimensions of one, one with as many dimensions for pixels
        return min(found, key=lambda view: abs(view.spatial - self.spatial), default=None)

"""The order of a tensor's dimensions with channels last."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class View:
    """The order of a tensor's dimensions with channels last: batch, pixels, channels."""

    rank: int
    #: number of pixel dimensions; in the model's order they are the last ones
    spatial: int

    @property
    def order(self) -> tuple[int, ...]:
        """Axes for a transposition from the model's order to channels last."""
        first = self.rank - self.spatial
        return 0, *range(first, self.rank), *range(1, first)

    @property
    def back(self) -> tuple[int, ...]:
        """Axes for the inverse transposition."""
        return tuple(self.order.index(axis) for axis in range(self.rank))

    @property
    def is_plain(self) -> bool:
        """Is the order the same as the model's?"""
        return self.order == tuple(range(self.rank))

    def axis(self, axis: int) -> int:
        """A dimension in the model's order -> its position with channels last."""
        return self.back[axis % self.rank]

    def moves(self, shape: Sequence[int]) -> bool:
        """Does the order in memory differ from the model's, for a tensor of this shape?"""
        long = [axis for axis in self.order if shape[axis] > 1]
        return long != sorted(long)

    def without(self, axes: Sequence[int]) -> View:
        """The view after these dimensions were reduced."""
        gone = {axis % self.rank for axis in axes}
        spatial = sum(axis >= self.rank - self.spatial for axis in gone)
        return View(self.rank - len(gone), self.spatial - spatial)

    def regrouped(self, before: Sequence[int], after: Sequence[int]) -> View | None:
        """The view after a reshape from before to after that leaves pixels pixels and channels channels, so that it
        moves no element in either order. None if it mixes them.
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
        # several may fit, if they differ in dimensions of size 1 only: prefer the same number of pixel dimensions
        return min(found, key=lambda view: abs(view.spatial - self.spatial), default=None)

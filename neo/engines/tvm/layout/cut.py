"""Which side of a border things belong to, so that what has to cross it costs least.

A minimum cut; by the theorem of Ford and Fulkerson (1956) it is a maximum flow.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

import networkx as nx

LAST, FIRST = "channels last", "channels first"


@dataclass(slots=True)
class Border:
    """Between the sides LAST and FIRST, which are things too. Costs are whole numbers."""

    _graph: nx.DiGraph = field(default_factory=nx.DiGraph)

    def prefer(self, thing: Hashable, side: str, cost: int) -> None:
        """What it costs if the thing is on the other side."""
        a, b = (LAST, thing) if side == LAST else (thing, FIRST)
        self._add(a, b, cost)

    def pass_on(self, name: Hashable, owner: Hashable, cost: int | None, readers: Iterable[Hashable]) -> None:
        """What it costs if any reader is on another side than the owner of what has that name: once, however many
        are. None: it must not be.
        """
        out, back = (FIRST, name), (LAST, name)
        self._add(owner, out, cost)
        self._add(back, owner, cost)
        for reader in readers:
            self._add(out, reader, None)
            self._add(reader, back, None)

    def cheapest(self) -> frozenset[Hashable]:
        """What is on the side LAST."""
        self._graph.add_nodes_from([LAST, FIRST])
        _, (last, _) = nx.minimum_cut(self._graph, LAST, FIRST, flow_func=nx.algorithms.flow.boykov_kolmogorov)
        return frozenset(last)

    def _add(self, a: Hashable, b: Hashable, cost: int | None) -> None:
        """From a to b; None: never."""
        if a == b:
            return
        if self._graph.has_edge(a, b):
            before = self._graph[a][b].get("capacity")
            cost = None if cost is None or before is None else cost + before
        self._graph.add_edge(a, b, **({} if cost is None else {"capacity": cost}))

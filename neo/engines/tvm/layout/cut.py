"""Assigning nodes to one of two layouts at the least total cost: a minimum cut.

It is computed as a maximum flow (Ford and Fulkerson, 1956).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

import networkx as nx

LAST, FIRST = "channels last", "channels first"


@dataclass(slots=True)
class Border:
    """The cut between the sides LAST and FIRST, which are the source and the sink of the flow. Costs are integers."""

    _graph: nx.DiGraph = field(default_factory=nx.DiGraph)

    def prefer(self, thing: Hashable, side: str, cost: int) -> None:
        """The cost of having the thing on the other side."""
        a, b = (LAST, thing) if side == LAST else (thing, FIRST)
        self._add(a, b, cost)

    def pass_on(self, name: Hashable, owner: Hashable, cost: int | None, readers: Iterable[Hashable]) -> None:
        """A tensor that the owner computes and the readers read. cost: of having a reader on another side than the
        owner, paid once for any number of such readers; None: not allowed. name: identifies the tensor.
        """
        out, back = (FIRST, name), (LAST, name)
        self._add(owner, out, cost)
        self._add(back, owner, cost)
        for reader in readers:
            self._add(out, reader, None)
            self._add(reader, back, None)

    def cheapest(self) -> frozenset[Hashable]:
        """The nodes on the side LAST of the minimum cut."""
        self._graph.add_nodes_from([LAST, FIRST])
        _, (last, _) = nx.minimum_cut(self._graph, LAST, FIRST, flow_func=nx.algorithms.flow.boykov_kolmogorov)
        return frozenset(last)

    def _add(self, a: Hashable, b: Hashable, cost: int | None) -> None:
        """Add an edge from a to b; costs of parallel edges add up. None: infinite."""
        if a == b:
            return
        if self._graph.has_edge(a, b):
            before = self._graph[a][b].get("capacity")
            cost = None if cost is None or before is None else cost + before
        self._graph.add_edge(a, b, **({} if cost is None else {"capacity": cost}))

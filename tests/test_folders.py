"""The rooms of ``neo`` import each other in one direction."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import grimp
import networkx as nx

ROOT = Path(__file__).parents[1]
# `neo.compile` is imported when it is asked for; the same exception as in [tool.importlinter]
LAZY = ("neo", "neo.compiler.api")


def room_of(module: str) -> str:
    """The folder that a file lies in. A file beside folders is a room of its own, as ``neo/errors.py`` is."""
    path = ROOT.joinpath(*module.split("."))
    package = module if path.is_dir() else module.rpartition(".")[0]
    inside = ROOT.joinpath(*package.split(".")).iterdir()
    return module if any((folder / "__init__.py").exists() for folder in inside) else package


def circles(imports: Iterable[tuple[str, str]]) -> list[str]:
    """imports: of modules. -> each circle of rooms with the imports that close it."""
    rooms = nx.DiGraph()
    for module, imported in imports:
        a, b = room_of(module), room_of(imported)
        if a != b and (module, imported) != LAZY:
            rooms.add_edge(a, b, why=f"{module} imports {imported}")
    found = (rooms.subgraph(part) for part in nx.strongly_connected_components(rooms) if len(part) > 1)
    return ["; ".join(sorted(why for _, _, why in circle.edges.data("why"))) for circle in found]


def imports_of_neo() -> list[tuple[str, str]]:
    graph = grimp.build_graph("neo", cache_dir=None)
    return [(module, other) for module in graph.modules for other in graph.find_modules_directly_imported_by(module)]


def test_no_folders_import_each_other_in_a_circle() -> None:
    assert circles(imports_of_neo()) == []


def test_a_circle_is_found_and_named() -> None:
    closing = ("neo.engines.tvm.ir.constants", "neo.engines.tvm.cpu.lowering.rows")
    (found,) = circles([*imports_of_neo(), closing])
    assert "neo.engines.tvm.ir.constants imports neo.engines.tvm.cpu.lowering.rows" in found

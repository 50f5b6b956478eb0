"""What a node of a TensorFlow graph depends on, and what a function calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def node_of(tensor: str) -> str:
    """The node that makes a tensor, or that a control input names: "a:1" and "^a" give "a"."""
    return tensor.removeprefix("^").partition(":")[0]


def reachable(nodes: Mapping[str, Any], tensors: Iterable[str], cut: Iterable[str] = ()) -> list[Any]:
    """The NodeDefs that ``tensors`` depend on. cut: tensors that are fed, whose nodes are not followed through them."""
    fed = {_port(tensor) for tensor in cut}
    pending = [tensor for tensor in tensors if _port(tensor) not in fed]
    found: dict[str, Any] = {}
    while pending:
        name = node_of(pending.pop())
        if name in nodes and name not in found:
            found[name] = nodes[name]
            pending.extend(tensor for tensor in nodes[name].input if _port(tensor) not in fed)
    return list(found.values())


def reachable_functions(functions: Mapping[str, Any], roots: Iterable[str]) -> list[Any]:
    """The FunctionDefs that the functions named ``roots`` call, directly or not, and these themselves."""
    pending = list(roots)
    found: dict[str, Any] = {}
    while pending:
        name = pending.pop()
        if name in functions and name not in found:
            found[name] = functions[name]
            pending.extend(called_functions(functions[name].node_def))
    return list(found.values())


def called_functions(nodes: Iterable[Any]) -> Iterator[str]:
    """Names of the functions in the nodes' attributes; an operator may be a function's name, too."""
    for node in nodes:
        yield node.op
        for attribute in node.attr.values():
            yield attribute.func.name
            yield from (function.name for function in attribute.list.func)


def _port(tensor: str) -> str:
    name, _, port = tensor.partition(":")
    return f"{name}:{port or 0}"

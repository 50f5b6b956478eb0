"""The words that an ONNX graph compares its inputs of strings with: an encoder's categories, a vocabulary."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import numpy_helper

from neo.onnx_tools.files import load

# attributes of the operators that look strings up
_LISTS = frozenset(["keys_strings", "cats_strings", "pool_strings", "string_vocabulary", "stopwords"])
_MOST_WORDS = 1000


def known_words(path: Path) -> dict[str, tuple[str, ...]]:
    """By input of the graph, in its order; inputs whose strings are compared with nothing are left out."""
    graph = load(path, weights=False).graph
    constants = dict(_constants(graph))
    inputs = [value.name for value in graph.input if value.type.tensor_type.elem_type == onnx.TensorProto.STRING]
    found = {name: tuple(dict.fromkeys(_words(graph, name, constants)))[:_MOST_WORDS] for name in inputs}
    return {name: words for name, words in found.items() if words}


def _words(graph: onnx.GraphProto, name: str, constants: dict[str, tuple[str, ...]]) -> Iterator[str]:
    """Of the first nodes behind name that have any: what comes later sees other strings."""
    reached = {name}
    for node in graph.node:
        if reached.isdisjoint(node.input):
            continue
        words = [word for attribute in node.attribute for word in _of_attribute(attribute)]
        words += [word for read in node.input for word in constants.get(read, ())]
        yield from words
        if not words:
            reached.update(node.output)


def _constants(graph: onnx.GraphProto) -> Iterator[tuple[str, tuple[str, ...]]]:
    for tensor in graph.initializer:
        yield tensor.name, _of_tensor(tensor)
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                strings = (*attribute.strings, attribute.s) if attribute.name.startswith("value_string") else ()
                yield node.output[0], (*map(_text, strings), *_of_tensor(attribute.t))


def _of_attribute(attribute: onnx.AttributeProto) -> tuple[str, ...]:
    if attribute.name == "keys_tensor":
        return _of_tensor(attribute.t)
    return tuple(map(_text, attribute.strings)) if attribute.name in _LISTS else ()


def _of_tensor(tensor: onnx.TensorProto) -> tuple[str, ...]:
    if tensor.data_type != onnx.TensorProto.STRING:
        return ()
    return tuple(str(item) for item in numpy_helper.to_array(tensor).ravel().tolist())


def _text(encoded: bytes) -> str:
    return encoded.decode(errors="replace")

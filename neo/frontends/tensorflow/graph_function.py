"""A GraphDef as a function that TensorFlow 2 can call, trace and convert."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

_COMPILED_BY_XLA = "_XlaMustCompile"


def graph_function(graph: Any, feeds: Sequence[str], fetches: Sequence[str]) -> Any:
    """graph: a GraphDef without variables. feeds, fetches: tensors, as in "image:0".

    The function takes the feeds in order and returns the list of fetches. Raises ValueError for a graph that
    TensorFlow refuses.
    """
    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
    tensors = [wrapped.graph.get_tensor_by_name(name) for name in feeds]
    # a list even of one: prune gives a lone tensor back as it is
    return wrapped.prune(tensors, [wrapped.graph.get_tensor_by_name(name) for name in fetches])


def without_xla(concrete: Any) -> Any | None:
    """The same function with variables frozen and nothing marked for XLA; None if nothing is.

    What is marked is not inlined, and tf2onnx then sees one unknown operator. Keras marks grouped convolutions.
    """
    if not _marked(concrete.graph.as_graph_def()):
        return None
    frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=False, aggressive_inlining=True)
    graph = frozen.graph.as_graph_def()
    for attributes in _attributes(graph):
        attributes.pop(_COMPILED_BY_XLA, None)
    _rename_functions(graph)
    return graph_function(graph, [t.name for t in frozen.inputs], [t.name for t in frozen.outputs])


def _rename_functions(graph: Any) -> None:
    """TensorFlow knows the old functions by name, and takes no others of the same names."""
    names = {f.signature.name: f"{f.signature.name}_plain" for f in graph.library.function}
    for function in graph.library.function:
        function.signature.name = names[function.signature.name]
    for node in (*graph.node, *(node for function in graph.library.function for node in function.node_def)):
        node.op = names.get(node.op, node.op)
        for attribute in node.attr.values():
            for called in (attribute.func, *attribute.list.func) if attribute.HasField("func") else attribute.list.func:
                called.name = names.get(called.name, called.name)


def _marked(graph: Any) -> bool:
    return any(_COMPILED_BY_XLA in attributes for attributes in _attributes(graph))


def _attributes(graph: Any) -> list[Any]:
    functions = graph.library.function
    nodes = [*graph.node, *(node for function in functions for node in function.node_def)]
    return [*(function.attr for function in functions), *(node.attr for node in nodes)]

"""Constants folded, batch norms folded into convolutions, no-ops removed.

ONNX Runtime's "basic" level: rewrites that hold for every provider and leave standard ONNX operators, which is what
the TVM importer reads.
Source: https://onnxruntime.ai/docs/performance/model-optimizations/graph-optimizations.html
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import onnxruntime

from neo.errors import EngineError
from neo.graph.options import RewriteOptions
from neo.onnx_tools.files import MODEL_FILE, load
from neo.onnx_tools.passes import Model, PassResult
from neo.onnx_tools.walk import graphs, subgraphs
from neo.runtime.extensions import extensions_library, register_extensions

_ERRORS_ONLY = 3
WEIGHTS_FILE = "weights.bin"
# larger constants are moved out of the graph, which is then read and written quickly. Smaller ones may be shapes and
# axes, which shape inference reads
LEAST_BYTES = 4096


def fold(model: Model, folder: Path, options: RewriteOptions) -> PassResult:  # noqa: ARG001  all rewrites take them
    """Needs the model's file. Raises EngineError if ONNX Runtime cannot read it."""
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    settings.optimized_model_filepath = str(folder / MODEL_FILE)
    settings.log_severity_level = _ERRORS_ONLY
    for key, value in (("file_name", WEIGHTS_FILE), ("min_size_in_bytes", str(LEAST_BYTES))):
        settings.add_session_config_entry(f"session.optimized_model_external_initializers_{key}", value)
    if extensions_library() is not None:
        register_extensions(settings)
    try:
        onnxruntime.InferenceSession(model.file, settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class of their own
        raise EngineError(f"onnxruntime cannot read the converted model: {error}") from error
    folded = load(folder / MODEL_FILE, weights=False)
    if _is_same(model.proto.graph, folded.graph):
        return PassResult(model, modified=False)
    _rename_new_constants(model.proto, folded)
    return PassResult(Model(folded, folder, file=None), modified=True)


def _is_same(original: onnx.GraphProto, folded: onnx.GraphProto) -> bool:
    """Do both have the same nodes and tensors, by name? ONNX Runtime gives tensors with new values new names."""
    return bool(_content(original) == _content(folded))


def _content(graph: onnx.GraphProto) -> Any:
    """A value that is equal for graphs that differ only in the order of nodes, attributes and tensors."""
    return (
        [value.name for value in graph.input],
        [value.name for value in graph.output],
        Counter((tensor.name, tensor.data_type, tuple(tensor.dims)) for tensor in graph.initializer),
        len(graph.sparse_initializer),
        sorted(map(_node, graph.node), key=repr),
    )


def _node(node: onnx.NodeProto) -> Any:
    attributes = sorted(
        attribute.SerializeToString(deterministic=True)
        for attribute in node.attribute
        if attribute.type not in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    )
    inner = [_content(graph) for graph in subgraphs(node)]
    return node.op_type, node.domain, tuple(node.input), tuple(node.output), attributes, inner


def _rename_new_constants(original: onnx.ModelProto, folded: onnx.ModelProto) -> None:
    """ONNX Runtime numbers the constants that it folds from 0 each time. Optimising the result again would reuse the
    names for other tensors, and fail.
    """
    known = {tensor.name for graph in graphs(original.graph) for tensor in graph.initializer}
    inside = list(graphs(folded.graph))
    new = {t.name: f"folded/{t.name}" for graph in inside for t in graph.initializer if t.name not in known}
    for graph in inside:
        _rename(graph, new)


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    own = {tensor.name for tensor in graph.initializer}
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    for output in graph.output:  # a constant may be an output; that name is the user's, or the surrounding node's
        if output.name in own and output.name in names:
            graph.node.append(onnx.helper.make_node("Identity", [names[output.name]], [output.name]))

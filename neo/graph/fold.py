"""Constants folded, batch norms folded into convolutions, no-ops removed, shapes inferred.

ONNX Runtime's "basic" level: rewrites that hold for every provider and leave standard ONNX operators, which is what
the TVM importer reads.
Source: https://onnxruntime.ai/docs/performance/model-optimizations/graph-optimizations.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
import onnxruntime

from neo.errors import EngineError
from neo.graph.embed_weights import LARGEST_EMBEDDED_BYTES, MODEL_FILE, WEIGHTS_FILE
from neo.runtime.extensions import extensions_library, register_extensions

_ERRORS_ONLY = 3


def fold(model: Path, folder: Path) -> Path:
    """Raises EngineError if ONNX Runtime cannot read the model."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folder / MODEL_FILE)
    options.log_severity_level = _ERRORS_ONLY
    if sum(path.stat().st_size for path in model.parent.iterdir()) > LARGEST_EMBEDDED_BYTES:
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", WEIGHTS_FILE)
    if extensions_library() is not None:
        register_extensions(options)
    try:
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class of their own
        raise EngineError(f"onnxruntime cannot read the converted model: {error}") from error
    _rename_new_constants(model, folder / MODEL_FILE)
    onnx.shape_inference.infer_shapes_path(folder / MODEL_FILE)
    return folder / MODEL_FILE


def _rename_new_constants(original: Path, folded: Path) -> None:
    """ONNX Runtime names what it folds by a counter that starts anew: optimising the result again would take the same
    names for other tensors, and fail.
    """
    known = {tensor.name for graph in _graphs(_graph_of(original)) for tensor in graph.initializer}
    loaded = onnx.load(folded, load_external_data=False)
    graphs = list(_graphs(loaded.graph))
    new = {t.name: f"folded/{t.name}" for graph in graphs for t in graph.initializer if t.name not in known}
    for graph in graphs:
        _rename(graph, new)
    onnx.save(loaded, folded)


def _graph_of(path: Path) -> onnx.GraphProto:
    return onnx.load(path, load_external_data=False).graph


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph itself and those inside its nodes, which see its tensors."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _graphs(inner)


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    own = {tensor.name for tensor in graph.initializer}
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    for output in graph.output:  # a constant may be an output; that name is the user's, or the surrounding node's
        if output.name in own and output.name in names:
            graph.node.append(onnx.helper.make_node("Identity", [names[output.name]], [output.name]))

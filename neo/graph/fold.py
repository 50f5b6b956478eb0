"""Constants folded, batch norms folded into convolutions, no-ops removed, shapes inferred.

ONNX Runtime's "basic" level: rewrites that hold for every provider and leave standard ONNX operators, which is what
the TVM importer reads.
Source: https://onnxruntime.ai/docs/performance/model-optimizations/graph-optimizations.html
"""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime

from neo.errors import EngineError
from neo.graph.embed_weights import LARGEST_EMBEDDED_BYTES, MODEL_FILE, WEIGHTS_FILE

_ERRORS_ONLY = 3


def fold(model: Path, folder: Path) -> Path:
    """Raises EngineError if ONNX Runtime cannot read the model."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folder / MODEL_FILE)
    options.log_severity_level = _ERRORS_ONLY
    if sum(path.stat().st_size for path in model.parent.iterdir()) > LARGEST_EMBEDDED_BYTES:
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", WEIGHTS_FILE)
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
    known = {tensor.name for tensor in onnx.load(original, load_external_data=False).graph.initializer}
    loaded = onnx.load(folded, load_external_data=False)
    renamed = {t.name: f"folded/{t.name}" for t in loaded.graph.initializer if t.name not in known}
    for tensor in loaded.graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
    for node in loaded.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    for output in loaded.graph.output:  # a constant may be an output of the model; that name is the user's
        if output.name in renamed:
            identity = onnx.helper.make_node("Identity", [renamed[output.name]], [output.name])
            loaded.graph.node.append(identity)
    onnx.save(loaded, folded)

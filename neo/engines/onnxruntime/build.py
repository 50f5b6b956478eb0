"""The graph with those optimisations that hold for every processor of the target.

ONNX Runtime's "extended" level fuses operators for its CPU provider. Its last level also chooses memory layouts for the
processor it runs on (NCHWc blocks of 8 or 16), so the device applies that one when it loads the model.
Source: https://onnxruntime.ai/docs/performance/model-optimizations/graph-optimizations.html
"""

from __future__ import annotations

import importlib.metadata
import tempfile
from pathlib import Path

import onnxruntime

from neo.engines.base import BuildRequest, BuiltEngine
from neo.engines.onnxruntime.floor import Floor, oldest_release, portable
from neo.engines.onnxruntime.weights import LEAST_BYTES, WEIGHTS_FILE, split_weights
from neo.errors import EngineError, NeoError
from neo.isolation.exhaustion import disk_full, is_disk_full
from neo.onnx_tools.files import load, save
from neo.onnx_tools.walk import model_nodes
from neo.processing.tokenizers.state import DOMAIN
from neo.runtime.engine_folder import ENGINE_FILE, EngineFolder
from neo.runtime.extensions import DISTRIBUTION, register_extensions
from neo.runtime.onnxruntime import MODEL_FILE

_ERRORS_ONLY = 3


def build(request: BuildRequest) -> BuiltEngine:
    """Raises EngineError if onnxruntime cannot take the model."""
    with tempfile.TemporaryDirectory(prefix=".optimised-", dir=request.folder) as scratch:
        optimised, extensions = _optimise(request.onnx, Path(scratch))
        floor = _make_portable(optimised)
        split_weights(optimised, request.folder)
    description = EngineFolder("onnxruntime", request.inputs, request.outputs, extensions=extensions)
    (request.folder / ENGINE_FILE).write_bytes(description.to_bytes())
    needs = {DISTRIBUTION: f">={importlib.metadata.version(DISTRIBUTION)}"} if extensions else {}
    notes = (f"needs onnxruntime {floor.version} because of {', '.join(floor.reasons)}",) if floor.reasons else ()
    return BuiltEngine(f">={floor.version}", notes, needs)


def _make_portable(path: Path) -> Floor:
    """Rewrites the graph so that it loads in the oldest ONNX Runtime that has its operators; -> that release."""
    model = load(path, weights=False)
    portable(model)
    save(model, path)
    return oldest_release(model, onnxruntime.__version__, beside=frozenset({DOMAIN}))


def _optimise(source: Path, folder: Path) -> tuple[Path, bool]:
    """-> (optimised graph in folder, its weights in WEIGHTS_FILE beside it; does it use ONNX Runtime's extensions?)"""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / MODEL_FILE)
    options.log_severity_level = _ERRORS_ONLY
    for key, value in (("file_name", WEIGHTS_FILE), ("min_size_in_bytes", str(LEAST_BYTES))):
        options.add_session_config_entry(f"session.optimized_model_external_initializers_{key}", value)
    try:
        extensions = _has_extensions(source)
        if extensions:
            register_extensions(options)
        onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except NeoError:
        raise
    except Exception as error:  # onnxruntime's exceptions, and protobuf's, share no base class of their own
        if is_disk_full(folder):
            raise disk_full(folder) from error
        raise EngineError(f"onnxruntime cannot take the model: {error}") from error
    return folder / MODEL_FILE, extensions


def _has_extensions(path: Path) -> bool:
    return any(node.domain == DOMAIN for node in model_nodes(load(path, weights=False)))

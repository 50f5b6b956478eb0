"""TensorFlow SavedModel folders, of TensorFlow 1 and 2, to ONNX."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError  # type: ignore[import-untyped,unused-ignore]
from tensorflow.python.saved_model import loader_impl

from neo.contract.tensors import TensorSpec
from neo.errors import ModelError, UnsupportedModel
from neo.frontends.base import ConversionRequest, SourceModel
from neo.frontends.failures import first_line
from neo.frontends.shapes import BATCH, fix_inputs
from neo.frontends.tensorflow.export import convert_function, declared_spec
from neo.frontends.tensorflow.operators import (
    Located,
    function_operators,
    graph_operators,
    reached_operators,
    refuse_side_effects,
)
from neo.frontends.tensorflow.reach import reachable
from neo.frontends.tensorflow.signatures import choose_signature

SERVING_TAG = "serve"
_INIT_OP = "__saved_model_init_op"


def convert(request: ConversionRequest) -> SourceModel:
    """request.source: a SavedModel folder. request.signature: which one is converted; by default serving_default, or
    the only one.

    Raises ModelError for a damaged folder or one without a signature, UnsupportedModel for unknown operators,
    UntrustedModel for operators that reach files or connections.
    """
    path = request.source
    tags = _check_before_loading(path)
    loaded = _load(path, tags)
    name = choose_signature(
        path,
        list(loaded.signatures),
        request.signature,
        without="save it with model.export(folder), or tf.saved_model.save(module, folder, signatures=function)",
    )
    signature = loaded.signatures[name]
    refuse_side_effects(path, graph_operators(signature.graph.as_graph_def()))
    given = {spec.name: spec for spec in request.inputs}
    tensors = signature.structured_input_signature[1]
    # neither arguments by keyword nor a dict of results have an order of their own
    declared = tuple(_declared(key, tensors[key], given.get(key)) for key in sorted(tensors))
    inputs = fix_inputs(declared, request.inputs, request.dims, nameless={BATCH})
    outputs = sorted(signature.structured_outputs)

    def call(*values: Any) -> list[Any]:
        # through loaded, not signature alone: it owns the variables, and must live as long as this function
        results = loaded.signatures[name](**{spec.name: value for spec, value in zip(inputs, values, strict=True)})
        return [results[key] for key in outputs]

    return convert_function(call, inputs, outputs, request.scratch / "model.onnx", f"tensorflow {tf.__version__}")


def _check_before_loading(path: Path) -> list[str] | None:
    """Refuses what loading would run. Returns the tags to load: None where the folder has only one graph."""
    try:
        saved = loader_impl.parse_saved_model(str(path))
    except (tf.errors.OpError, OSError, ValueError, DecodeError) as error:
        raise _damaged(path, error) from error
    for graph in saved.meta_graphs:
        refuse_side_effects(path, graph_operators(graph.graph_def), saves=True, reads=True)
        refuse_side_effects(path, _run_by_loading(graph), reads=True)
    return None if len(saved.meta_graphs) == 1 else [SERVING_TAG]


def _run_by_loading(meta_graph: Any) -> Iterator[Located]:
    """TensorFlow 2 may call any function that an object of the folder owns; TensorFlow 1 runs one initialiser."""
    graph = meta_graph.graph_def
    if meta_graph.object_graph_def.nodes:
        return function_operators(graph, meta_graph.object_graph_def.concrete_functions)
    nodes = {node.name: node for node in graph.node}
    return reached_operators(graph, reachable(nodes, _initialisers(meta_graph)))


def _initialisers(meta_graph: Any) -> list[str]:
    names = [tensor.name for tensor in meta_graph.signature_def[_INIT_OP].outputs.values()]
    for key in ("saved_model_main_op", "legacy_init_op"):
        names.extend(meta_graph.collection_def[key].node_list.value)
    return names


def _load(path: Path, tags: list[str] | None) -> Any:
    try:
        return tf.saved_model.load(str(path), tags=tags)
    except tf.errors.NotFoundError as error:
        operator = re.search(r"Op type not registered '(\w+)'", str(error))
        if operator is None:
            raise _damaged(path, error) from error
        raise UnsupportedModel(
            f"{path} uses the operator {operator[1]}, which TensorFlow {tf.__version__} does not have",
            hint="build the model without operators from libraries of their own, and export it again",
            details={"operator": operator[1]},
        ) from error
    except (tf.errors.OpError, OSError, ValueError, LookupError, RuntimeError, DecodeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ModelError:
    return ModelError(
        f"{path} is a SavedModel that TensorFlow {tf.__version__} cannot load: {first_line(error)}",
        hint="copy the whole folder again: saved_model.pb and variables/ belong together",
    )


def _declared(name: str, spec: Any, given: TensorSpec | None) -> TensorSpec:
    if not isinstance(spec, tf.TensorSpec):
        raise UnsupportedModel(f"input {name!r} is a {type(spec).__name__}, not a dense tensor")
    return declared_spec(name, spec.dtype.name, None if spec.shape.rank is None else spec.shape.as_list(), given)

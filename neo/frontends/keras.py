"""Keras models (.keras, .h5) to ONNX, through the TensorFlow function that Keras makes of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import keras
import tensorflow as tf

from neo.contract.tensors import TensorSpec
from neo.errors import ModelError, UnsupportedModel
from neo.frontends.base import ConversionRequest, SourceModel
from neo.frontends.failures import first_line
from neo.frontends.keras_config import custom_layer, read_config, read_metadata, refuse_code, refuse_custom_layers
from neo.frontends.keras_legacy import refuse_tensorflow_calls, refuse_zip_of_keras_2, upgraded
from neo.frontends.recognise import require_format
from neo.frontends.shapes import BATCH, fix_inputs
from neo.frontends.tensorflow.export import convert_function, declared_spec

_UNKNOWN_CLASS = re.compile(
    r"(?:Could not locate (?:class|function)|Unknown (?:layer|\w+ function|object)):? '([\w>.]+)'"
)


def convert(request: ConversionRequest) -> SourceModel:
    """request.source: a whole model, .keras or .h5 of Keras 3, or .h5 of Keras 2. Inputs have the names of the Keras
    inputs, outputs those of the layers that make them (or of the dict that the model returns).

    Raises ModelError for a damaged file or one with weights only, UnsupportedModel naming a custom class,
    UntrustedModel for Lambda layers unless request.trust_pickle.
    """
    file_format = require_format(request.source, "keras", "keras-h5")
    config = read_config(request.source, file_format)
    if not request.trust_pickle:
        refuse_code(request.source, config)
    refuse_tensorflow_calls(request.source, config)
    if file_format == "keras":
        refuse_zip_of_keras_2(request.source, read_metadata(request.source))
    refuse_custom_layers(request.source, config)
    readable = upgraded(request.source, config, request.scratch) if file_format == "keras-h5" else request.source
    model = _load(request.source, readable, trust=request.trust_pickle)
    declared = tuple(map(_declared, _flat_inputs(request.source, model)))
    inputs = fix_inputs(declared, request.inputs, request.dims, nameless={BATCH})
    structure = _input_structure(model)

    def call(*values: Any) -> list[Any]:
        return list(keras.tree.flatten(model(keras.tree.pack_sequence_as(structure, list(values)), training=False)))

    names = _output_names(model, {spec.name for spec in inputs})
    framework = f"keras {keras.__version__} (tensorflow {tf.__version__})"
    return convert_function(call, inputs, names, request.scratch / "model.onnx", framework)


def _load(path: Path, readable: Path, *, trust: bool) -> Any:
    try:
        return keras.models.load_model(readable, compile=False, safe_mode=not trust)
    except (ValueError, TypeError, KeyError, OSError, AttributeError, BadZipFile, tf.errors.OpError) as error:
        unknown = _UNKNOWN_CLASS.search(str(error))
        if unknown:
            raise custom_layer(path, unknown[1]) from error
        raise ModelError(
            f"{path} is a Keras model that Keras {keras.__version__} cannot load: {first_line(error)}",
            hint="it may be damaged, or written by another version: save it again with this one",
        ) from error


def _flat_inputs(path: Path, model: Any) -> list[Any]:
    inputs = getattr(model, "inputs", None)
    if not inputs:
        raise UnsupportedModel(
            f"{path} holds a {type(model).__name__} that does not know its inputs",
            hint="call the model once before saving it, or save the graph with model.export('folder')",
        )
    return list(keras.tree.flatten(inputs))


def _declared(tensor: Any) -> TensorSpec:
    if getattr(tensor, "sparse", False) or getattr(tensor, "ragged", False):
        raise UnsupportedModel(f"input {tensor.name!r} is sparse or ragged", hint="give the model a dense input")
    return declared_spec(tensor.name, keras.backend.standardize_dtype(tensor.dtype), tensor.shape)


def _input_structure(model: Any) -> Any:
    """How the model wants its inputs nested: alone, in a list, or in a dict."""
    try:
        return model.input
    except AttributeError:
        # a Sequential model that was loaded and never called has inputs, but no input
        return model.inputs[0] if len(model.inputs) == 1 else model.inputs


def _output_names(model: Any, taken: set[str]) -> list[str]:
    structure = getattr(model, "_outputs_struct", None)
    if isinstance(structure, dict):
        names = ["_".join(map(str, path)) for path, _tensor in keras.tree.flatten_with_path(structure)]
    else:
        names = [_layer_name(tensor) for tensor in keras.tree.flatten(model.outputs)]
    if len(set(names)) < len(names):
        names = [f"output_{number}" for number in range(len(names))]
    return [f"output_{name}" if name in taken else name for name in names]


def _layer_name(tensor: Any) -> str:
    # Keras has no public way from a tensor to the layer that makes it
    return str(tensor._keras_history.operation.name)  # noqa: SLF001

"""TensorFlow SavedModel folders to ONNX."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError  # type: ignore[import-untyped,unused-ignore]

from neo.contract.tensors import TensorSpec
from neo.errors import ModelError, UnsupportedModel
from neo.frontends.base import ConversionRequest, SourceModel
from neo.frontends.failures import first_line
from neo.frontends.recognise import require_format
from neo.frontends.shapes import fix_inputs
from neo.frontends.tf_export import convert_function, declared_spec

DEFAULT_SIGNATURE = "serving_default"


def convert(request: ConversionRequest) -> SourceModel:
    """request.source: a SavedModel folder. Its signature serving_default is converted, or its only one.

    Raises ModelError for a damaged folder or one without a signature, UnsupportedModel for unknown operators.
    """
    require_format(request.source, "savedmodel")
    loaded = _load(request.source)
    name = _signature_name(request.source, list(loaded.signatures))
    signature = loaded.signatures[name]
    tensors = signature.structured_input_signature[1]
    # arguments by keyword have no order of their own
    declared = tuple(_declared(key, tensors[key]) for key in sorted(tensors))
    inputs = fix_inputs(declared, request.inputs, request.dims)
    outputs = list(signature.structured_outputs)

    def call(*values: Any) -> list[Any]:
        # through loaded, not signature alone: it owns the variables, and must live as long as this function
        results = loaded.signatures[name](**{spec.name: value for spec, value in zip(inputs, values, strict=True)})
        return [results[key] for key in outputs]

    return convert_function(call, inputs, outputs, request.scratch / "model.onnx", f"tensorflow {tf.__version__}")


def _load(path: Path) -> Any:
    try:
        return tf.saved_model.load(str(path))
    except tf.errors.NotFoundError as error:
        operator = re.search(r"Op type not registered '(\w+)'", str(error))
        if operator is None:
            raise _damaged(path, error) from error
        raise UnsupportedModel(
            f"{path} uses the operator {operator[1]}, which TensorFlow {tf.__version__} does not have",
            hint="build the model without operators from libraries of their own, and export it again",
            details={"operator": operator[1]},
        ) from error
    except (tf.errors.OpError, OSError, ValueError, LookupError, DecodeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ModelError:
    return ModelError(
        f"{path} is a SavedModel that TensorFlow {tf.__version__} cannot load: {first_line(error)}",
        hint="copy the whole folder again: saved_model.pb and variables/ belong together",
    )


def _signature_name(path: Path, names: list[str]) -> str:
    if DEFAULT_SIGNATURE in names or len(names) == 1:
        return DEFAULT_SIGNATURE if DEFAULT_SIGNATURE in names else names[0]
    if not names:
        raise ModelError(
            f"{path} has no signature: it does not say what its inputs and outputs are",
            hint="save it with model.export(folder), or tf.saved_model.save(module, folder, signatures=function)",
        )
    raise ModelError(
        f"{path} has several signatures and none is called {DEFAULT_SIGNATURE}: {', '.join(sorted(names))}",
        hint=f"save the wanted one as tf.saved_model.save(module, folder, signatures={{'{DEFAULT_SIGNATURE}': f}})",
    )


def _declared(name: str, spec: Any) -> TensorSpec:
    if not isinstance(spec, tf.TensorSpec):
        raise UnsupportedModel(f"input {name!r} is a {type(spec).__name__}, not a dense tensor")
    return declared_spec(name, spec.dtype.name, None if spec.shape.rank is None else spec.shape.as_list())

"""A TensorFlow function to ONNX: what the Keras, SavedModel and frozen graph frontends share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf2onnx

from neo.contract.tensors import NUMBERS, Dim, TensorSpec
from neo.errors import InputSpecError, UnsupportedModel
from neo.frontends.base import Arrays, SourceModel
from neo.frontends.failures import first_line
from neo.frontends.onnx_file import fix_shapes, interface
from neo.frontends.onnx_names import refuse_unknown_operators, rename_interface
from neo.frontends.shapes import dim_name
from neo.frontends.tensorflow import onnx_operators  # noqa: F401  # registers them
from neo.frontends.tensorflow.graph_function import without_xla
from neo.onnx_tools.files import load, save

# the newest that tf2onnx writes
OPSET = 18


def declared_spec(
    name: str, dtype: str, shape: Sequence[int | None] | None, given: TensorSpec | None = None
) -> TensorSpec:
    """shape: None for an unknown rank, and None for each unknown size. given: what --input says, which decides where
    the model declares no rank.

    Raises UnsupportedModel for other dtypes, InputSpecError if nobody says how many dimensions there are.
    """
    if dtype not in NUMBERS:
        raise UnsupportedModel(
            f"input {name!r} has the dtype {dtype}",
            hint=f"an input can be: {', '.join(sorted(NUMBERS))}; leave the step before it out of the model",
        )
    if shape is not None:
        dims: list[Dim] = [dim_name(name, axis) if size is None else size for axis, size in enumerate(shape)]
        return TensorSpec(name, dtype, tuple(dims))
    if given is None:
        raise InputSpecError(
            f"the model does not say how many dimensions its input {name!r} has",
            hint=f"add --input {TensorSpec(name, dtype, (1, 224, 224, 3))} with the model's own size",
        )
    return TensorSpec(name, dtype, given.shape)


def convert_function(
    function: Callable[..., Sequence[Any]],
    inputs: tuple[TensorSpec, ...],
    output_names: Sequence[str],
    path: Path,
    framework: str,
) -> SourceModel:
    """function: takes the inputs' tensors in order, returns the outputs' in order.

    Raises UnsupportedModel naming an operator that ONNX lacks, InputSpecError if the function fails for these shapes.
    """
    flat, signature = _trace(function, inputs)
    # tf2onnx reports through its log what the ONNX file then shows
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    try:
        tf2onnx.convert.from_function(flat, signature, opset=OPSET, output_path=str(path))
    except (ValueError, KeyError, NotImplementedError, AttributeError) as error:
        raise UnsupportedModel(
            f"tf2onnx {tf2onnx.__version__} cannot write this as ONNX: {type(error).__name__}: {first_line(error)}"
        ) from error
    refuse_unknown_operators(path, hint="replace it with other TensorFlow operators and export the model again")
    rename_interface(
        path,
        [(f"input_{i}", spec.name) for i, spec in enumerate(inputs)],
        [(f"output_{i}", name) for i, name in enumerate(output_names)],
    )
    fix_shapes(path, inputs)
    _state_output_shapes(path, flat)
    _inputs, outputs = interface(path)

    def run(arrays: Arrays) -> Arrays:
        results = function(*(tf.constant(arrays[spec.name]) for spec in inputs))
        return {name: np.asarray(value.numpy()) for name, value in zip(output_names, results, strict=True)}

    return SourceModel(path, framework, inputs, outputs, run)


def _state_output_shapes(path: Path, flat: Any) -> None:
    """TensorFlow may know a size that ONNX cannot work out."""
    model = load(path, weights=False)
    shapes = flat.get_concrete_function().structured_outputs
    for number, value in enumerate(model.graph.output):
        shape = shapes[f"output_{number}"].shape
        dims = value.type.tensor_type.shape.dim
        if shape.rank == len(dims):
            for dim, size in zip(dims, shape.as_list(), strict=True):
                if size is not None:
                    dim.dim_value = size
    save(model, path)


def _trace(function: Callable[..., Sequence[Any]], inputs: tuple[TensorSpec, ...]) -> tuple[Any, list[Any]]:
    # TensorFlow changes names that are no identifiers: numbers are safe, the real names follow in the ONNX file
    signature = [
        tf.TensorSpec([dim if isinstance(dim, int) else None for dim in spec.shape], spec.dtype, name=f"input_{i}")
        for i, spec in enumerate(inputs)
    ]

    def numbered(*tensors: Any) -> dict[str, Any]:
        # identity: an input returned as it is, or one tensor returned twice, still gets a name of its own
        return {f"output_{i}": tf.identity(value) for i, value in enumerate(function(*tensors))}

    flat = tf.function(numbered, input_signature=signature, autograph=False)
    try:
        plain = without_xla(flat.get_concrete_function())
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise InputSpecError(
            f"the model does not work for the input {'  '.join(map(str, inputs))}: {first_line(error)}",
            hint="check the sizes that --input and --dim give",
        ) from error
    if plain is None:
        return flat, signature

    def inlined(*tensors: Any) -> dict[str, Any]:
        # TensorFlow sorts the keys of a dict: output_10 comes before output_2
        return {name: tf.identity(value) for name, value in zip(names, plain(*tensors), strict=True)}

    names = sorted(flat.get_concrete_function().structured_outputs)
    return tf.function(inlined, input_signature=signature, autograph=False), signature

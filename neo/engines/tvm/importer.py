"""ONNX -> Relax, with what it cannot take said operator by operator."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import onnx
import tvm
from tvm.relax.frontend.onnx import from_onnx

from neo.contract.tensors import TensorSpec
from neo.engines.tvm.converters import our_converters
from neo.errors import EngineError


def import_onnx(path: Path, inputs: tuple[TensorSpec, ...]) -> tvm.IRModule:
    """A module whose ``main`` takes the inputs in order; weights are constants in it.

    Raises EngineError for dynamic shapes, and for operators that TVM's importer does not know.
    """
    for spec in inputs:
        if spec.dynamic_dims:
            raise EngineError(
                f"the tvm engine needs fixed shapes; input {spec.name!r} has the dimensions {spec.dynamic_dims}",
                hint=f"fix them with --dim {spec.dynamic_dims[0]}=1, or use --engine onnxruntime",
            )
    model = onnx.load(path)
    try:
        with warnings.catch_warnings(), our_converters():
            warnings.simplefilter("ignore")
            module = from_onnx(model, {spec.name: list(spec.shape) for spec in inputs}, sanitize_input_names=False)
    except Exception as error:  # the importer raises whatever its converters trip over
        unknown = re.search(r"not supported[^\[{]*[\[{]([^\]}]*)[\]}]", str(error))
        what = f"the operators {unknown[1]}" if unknown else _last_line(error)
        raise EngineError(f"tvm cannot import the model: {what}", hint="use --engine onnxruntime") from error
    return module


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]

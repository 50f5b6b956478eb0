"""An ONNX file of one's own, as a model to be measured."""

from __future__ import annotations

from pathlib import Path

from benchmarks.reference import reference_outputs
from benchmarks.zoo import MODEL_FILE
from neo.errors import ModelError, UsageError
from neo.frontends.onnx_file import interface
from neo.frontends.samples import random_inputs
from neo.onnx_tools.files import load, save
from neo.runtime.golden import write_golden

SAMPLES = 2


def own_folder(path: Path, folder: Path) -> Path:
    """folder, made here: model.onnx and golden samples of the file, with random inputs. path: weights may be beside it.

    Raises ModelError if it is no ONNX file that ONNX Runtime can run, UsageError if the shapes of its inputs are not
    fixed.
    """
    folder.mkdir(parents=True)
    try:
        inputs, _ = interface(path)
        model = load(path)
    except Exception as error:  # protobuf's own, and those of files beside
        raise ModelError(f"{path} is no ONNX model: {str(error)[:200]}") from error
    for spec in inputs:
        if spec.dynamic_dims:
            raise UsageError(
                f"input {spec.name!r} of {path} has the dimensions {spec.dynamic_dims}, which are not fixed",
                hint="measure what was exported with fixed shapes",
            )
    save(model, folder / MODEL_FILE)
    try:
        samples = [
            (arrays, reference_outputs(folder / MODEL_FILE, arrays)) for arrays in random_inputs(inputs, SAMPLES, 0)
        ]
    except Exception as error:  # ONNX Runtime's are of every kind
        raise ModelError(f"ONNX Runtime does not run {path}: {str(error)[:200]}") from error
    write_golden(folder, samples)
    return folder

"""TensorFlow to ONNX: SavedModel folders, frozen graphs (.pb) and TensorFlow Lite models (.tflite), a file each."""

from __future__ import annotations

from neo.errors import UsageError
from neo.frontends.base import ConversionRequest, SourceModel
from neo.frontends.recognise import require_format


def convert(request: ConversionRequest) -> SourceModel:
    """request.source: a SavedModel folder, a frozen graph or a TensorFlow Lite model. Errors: see their files."""
    file_format = require_format(request.source, "savedmodel", "graphdef", "tflite")
    if request.outputs and file_format != "graphdef":
        raise UsageError(
            f"--outputs is for frozen graphs; {request.source} says itself what its outputs are",
            hint="leave it out, or choose with --signature",
        )
    if request.signature and file_format == "graphdef":
        raise UsageError(
            f"--signature is for SavedModels; the frozen graph {request.source} has none",
            hint="name the tensors you want with --outputs",
        )
    if file_format == "savedmodel":
        from neo.frontends.tensorflow import saved_model

        return saved_model.convert(request)
    if file_format == "graphdef":
        from neo.frontends.tensorflow import frozen_graph

        return frozen_graph.convert(request)
    from neo.frontends.tensorflow import lite

    return lite.convert(request)

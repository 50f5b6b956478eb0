"""What an ONNX file says, for engines to be held against."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

_ERRORS_ONLY = 3


def reference_outputs(path: Path, inputs: Arrays) -> Arrays:
    """What the graph answers operator by operator, as written: nothing fused, nothing folded."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = _ERRORS_ONLY
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))

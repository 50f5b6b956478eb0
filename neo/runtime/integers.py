"""Products of 8-bit integers in ONNX Runtime, computed exactly on every processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_UNSIGNED_WEIGHTS = "session.x64quantprecision"
_NO_INTEGERS = "session.disable_quant_qdq"
# what ONNX Runtime 1.32 says where two nodes share a weight that it wants to make unsigned
_SHARED_WEIGHT = "Attempt to replace the existing tensor"


def open_exact_session(path: Path, options: Any) -> Any:
    """An InferenceSession of onnxruntime on the processor. options: its SessionOptions, which are changed.

    On x86-64 without VNNI instructions ONNX Runtime adds two products of unsigned and signed bytes in 16 bits, which
    saturate: a quantised model then answers otherwise than on every other machine. This makes it use unsigned weights
    there, which is slower, and changes nothing elsewhere. Where it fails at that, integers that the graph defines by
    QuantizeLinear and DequantizeLinear are computed as the floats that they stand for. Both need the graph to be
    optimised as it is loaded; a graph that is written down for other machines must not be changed so.

    Source: onnxruntime_session_options_config_keys.h, kOrtSessionOptionsAvx2PrecisionMode and
    kOrtSessionOptionsDisableQuantQDQ. Raises onnxruntime's exceptions, which share no base class of their own.
    """
    import onnxruntime

    options.add_session_config_entry(_UNSIGNED_WEIGHTS, "1")
    providers = ["CPUExecutionProvider"]
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:
        if _SHARED_WEIGHT not in str(error):
            raise
    options.add_session_config_entry(_UNSIGNED_WEIGHTS, "0")
    options.add_session_config_entry(_NO_INTEGERS, "1")
    return onnxruntime.InferenceSession(str(path), options, providers=providers)

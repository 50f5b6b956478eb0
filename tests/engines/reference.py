"""What a model should answer: ONNX Runtime with every optimisation off."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime

from neo.contract.tensors import TensorSpec


def reference_outputs(model: onnx.ModelProto, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {spec.name: array for spec, array in zip(session.get_inputs(), arrays, strict=True)}
    return list(session.run(None, feeds))


def specs(values: Sequence[onnx.ValueInfoProto]) -> tuple[TensorSpec, ...]:
    def dims(value: onnx.ValueInfoProto) -> tuple[int | str, ...]:
        return tuple(dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim)

    def dtype(value: onnx.ValueInfoProto) -> str:
        return str(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))

    return tuple(TensorSpec(value.name, dtype(value), dims(value)) for value in values)

"""One small network that has learnt the digits, as ONNX files of many kinds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from benchmarks.frameworks.entries import Made
from neo.demo.digits import load_digits
from neo.onnx_tools.files import load, save

OLDEST, USUAL = 7, 17
IR_VERSION = 8
CHANNELS = 24
SEED = 0
RIDGE = 10.0
# float16 resolves 1e-3 of a number
HALF_MAX_REL = 1e-2


def digits(folder: Path, kind: str) -> Made:
    opset = {"float32, opset 7": OLDEST, "float32, latest opset": onnx.defs.onnx_opset_version()}.get(kind, USUAL)
    path = folder / "digits.onnx"
    save(digits_network(opset), path)
    if kind == "external data":
        onnx.save(load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    if kind == "float16":
        return Made(_half(path), max_rel=HALF_MAX_REL)
    if kind.endswith("int8"):
        return Made(quantised(path, qdq=kind.startswith("QDQ")))
    return Made(path)


def digits_network(opset: int) -> onnx.ModelProto:
    """Image float32 (1, 1, 8, 8) -> scores (1, 10). The convolution is random; the last layer is fitted to the digits
    by ridge regression: small weights, which survive 8 bits.
    """
    kernels = np.random.default_rng(SEED).normal(0, 0.5, (CHANNELS, 1, 3, 3)).astype(np.float32)
    training, _ = load_digits()
    features = _features(kernels, training.images)
    gram = features.T @ features + RIDGE * np.eye(features.shape[1])
    dense = np.linalg.solve(gram, features.T @ np.eye(10)[training.labels])
    nodes = [*_feature_nodes(), helper.make_node("Gemm", ["features", "dense", "bias"], ["scores"])]
    weights = {
        "kernels": kernels,
        "dense": dense[:-1].astype(np.float32),
        "bias": dense[-1].astype(np.float32),
    }
    return _model(nodes, weights, "scores", 10, opset)


def _feature_nodes() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Conv", ["image", "kernels"], ["convolved"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["convolved"], ["rectified"]),
        helper.make_node("MaxPool", ["rectified"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
    ]


def _features(kernels: NDArray[Any], images: NDArray[Any]) -> NDArray[Any]:
    """(N, CHANNELS * 16 + 1), the last column is 1."""
    import onnxruntime

    model = _model(_feature_nodes(), {"kernels": kernels}, "features", CHANNELS * 16, USUAL)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rows = [session.run(None, {"image": image[None]})[0][0] for image in images]
    return np.hstack([np.array(rows), np.ones((len(rows), 1), np.float32)])


def _model(
    nodes: list[onnx.NodeProto], weights: dict[str, NDArray[Any]], output: str, size: int, opset: int
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, size])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION)


def _half(path: Path) -> Path:
    """The same in float16, inputs and outputs too."""
    model = load(path)
    for index, tensor in enumerate(model.graph.initializer):
        half = numpy_helper.to_array(tensor).astype(np.float16)
        model.graph.initializer[index].CopyFrom(numpy_helper.from_array(half, tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    save(model, path)
    return path


def quantised(path: Path, *, qdq: bool) -> Path:
    """With ONNX Runtime's own tool, calibrated on a few digits."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Digits(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self._images: Iterator[NDArray[Any]] = iter(load_digits()[0].images[:64])

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            image = next(self._images, None)
            return None if image is None else {"image": image[None]}

    target = path.with_name("quantised.onnx")
    quantize_static(
        path,
        target,
        Digits(),
        quant_format=QuantFormat.QDQ if qdq else QuantFormat.QOperator,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return target

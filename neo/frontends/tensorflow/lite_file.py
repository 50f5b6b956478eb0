"""What a TensorFlow Lite file says about its operators, signatures and quantisation, read without running it.

Format: FlatBuffers,
https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tf2onnx.tflite.BuiltinOperator import BuiltinOperator
from tf2onnx.tflite.Model import Model

from neo.errors import ModelError

_OPERATOR_NAMES = {code: name for name, code in vars(BuiltinOperator).items() if not name.startswith("_")}


@dataclass(frozen=True, slots=True)
class LiteSignature:
    """A signature of a TensorFlow Lite file."""

    #: name in the signature -> number of the tensor
    inputs: Mapping[str, int]
    #: likewise
    outputs: Mapping[str, int]
    #: number of the subgraph that has these tensors
    subgraph: int


@dataclass(frozen=True, slots=True)
class LiteFile:
    """What is known about a file without running it."""

    #: operators that are not TensorFlow Lite's own
    custom: tuple[str, ...]
    #: by name
    signatures: Mapping[str, LiteSignature]
    #: number of a quantised output tensor of the main graph -> its quantisation step, in units of that output
    steps: Mapping[int, float]
    #: do operators have integer weights and float activations?
    hybrid: bool


def read_lite_file(path: Path) -> LiteFile:
    """Raises ModelError for a file whose tables point outside of it."""
    try:
        return _read(Model.GetRootAs(bytearray(path.read_bytes()), 0))
    except (struct.error, IndexError, ValueError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise ModelError(
            f"{path} is a truncated or damaged TensorFlow Lite model", hint="copy or download it again"
        ) from error


def _read(model: Any) -> LiteFile:
    names = [_operator_name(model.OperatorCodes(i)) for i in range(model.OperatorCodesLength())]
    graph = model.Subgraphs(0)
    return LiteFile(
        custom=tuple(name for name, custom in names if custom),
        signatures={
            signature.SignatureKey().decode(): _signature(signature)
            for signature in (model.SignatureDefs(i) for i in range(model.SignatureDefsLength()))
        },
        steps=_steps(graph, [name for name, _custom in names]),
        hybrid=_hybrid(model, graph),
    )


def _operator_name(code: Any) -> tuple[str, bool]:
    """And whether it is custom. The larger number counts: the older field has one byte and cannot say all."""
    name = _OPERATOR_NAMES[max(code.DeprecatedBuiltinCode(), code.BuiltinCode())]
    return (code.CustomCode().decode(), True) if name == "CUSTOM" else (name, False)


def _signature(signature: Any) -> LiteSignature:
    inputs = [signature.Inputs(i) for i in range(signature.InputsLength())]
    outputs = [signature.Outputs(i) for i in range(signature.OutputsLength())]
    return LiteSignature(
        {tensor.Name().decode(): tensor.TensorIndex() for tensor in inputs},
        {tensor.Name().decode(): tensor.TensorIndex() for tensor in outputs},
        signature.SubgraphIndex(),
    )


def _steps(graph: Any, names: list[str]) -> dict[int, float]:
    made_from = {}
    for i in range(graph.OperatorsLength()):
        operator = graph.Operators(i)
        if names[operator.OpcodeIndex()] == "DEQUANTIZE":
            made_from[operator.Outputs(0)] = operator.Inputs(0)
    steps = {}
    for number in map(graph.Outputs, range(graph.OutputsLength())):
        if _scale(graph, number) is not None:
            steps[number] = 1.0
        elif number in made_from and (scale := _scale(graph, made_from[number])) is not None:
            steps[number] = scale
    return steps


def _hybrid(model: Any, graph: Any) -> bool:
    tensors = [graph.Tensors(i) for i in range(graph.TensorsLength())]
    quantised = [tensor for i, tensor in enumerate(tensors) if _scale(graph, i) is not None]
    return bool(quantised) and not any(model.Buffers(tensor.Buffer()).DataIsNone() for tensor in quantised)


def _scale(graph: Any, number: int) -> float | None:
    quantisation = graph.Tensors(number).Quantization()
    if quantisation is None or quantisation.ScaleIsNone():
        return None
    return float(quantisation.Scale(0))

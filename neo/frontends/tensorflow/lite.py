"""TensorFlow Lite models (.tflite) to ONNX, by tf2onnx. Quantised ones become ONNX with QuantizeLinear and
DequantizeLinear around float operators, which ONNX Runtime fuses into integer kernels.

Tolerances: TensorFlow Lite computes a quantised operator in integers; ONNX dequantises, computes in floats and
quantises again. Both round once for each operator. For a value in the middle between two steps they may choose
different ones, and later operators propagate the difference. So a quantised output may differ by ``MAX_STEPS`` of its
own quantisation steps. Measured with random weights, which propagate noise farther than trained ones: a net of ten
layers 1 step, MobileNetV2 9, where TensorFlow Lite's own kernels (XNNPACK, built-in, reference) differ by 23. For a
dynamic-range model (integer weights, float activations), TensorFlow Lite quantises activations to 8 bits at run time,
which ONNX does not do: answers may differ by ``HYBRID_ERROR`` of the largest output (EfficientNetB0 0.02, MobileNetV2
0.10). For all others, the usual tolerance of floats applies.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf2onnx

from neo.contract.parity import Tolerance
from neo.errors import ModelError, UnsupportedModel, UsageError
from neo.frontends.base import Arrays, ConversionRequest, SourceModel
from neo.frontends.failures import first_line
from neo.frontends.onnx_file import fix_shapes, interface
from neo.frontends.onnx_names import refuse_unknown_operators, rename_interface
from neo.frontends.shapes import BATCH, fix_inputs
from neo.frontends.tensorflow.export import OPSET, declared_spec
from neo.frontends.tensorflow.lite_file import LiteFile, read_lite_file
from neo.frontends.tensorflow.signatures import choose_signature

MAX_STEPS = 16
HYBRID_ERROR = 0.2
_WRITTEN_BY_TF2ONNX = frozenset(["TFLite_Detection_PostProcess"])


def convert(request: ConversionRequest) -> SourceModel:
    """request.source: a TensorFlow Lite file. Inputs and outputs have the names of its signature, or those of their
    tensors where it has none.

    Raises ModelError for a damaged file, UnsupportedModel for custom operators and for those of TensorFlow itself,
    which is why none can reach files.
    """
    path = request.source
    file = read_lite_file(path)
    _refuse_custom(path, file)
    interpreter = _open(path)
    _refuse_wide_activations(path, interpreter)
    input_names, output_names = _names(path, file, interpreter, request.signature)
    declared = tuple(
        declared_spec(input_names[d["index"]], np.dtype(d["dtype"]).name, _shape(d))
        for d in interpreter.get_input_details()
    )
    inputs = fix_inputs(declared, request.inputs, request.dims, nameless={BATCH})
    onnx = request.scratch / "model.onnx"
    _write_onnx(path, onnx)
    written_inputs, written_outputs = interface(onnx)
    new_outputs = [output_names[d["index"]] for d in interpreter.get_output_details()]
    rename_interface(
        onnx,
        [(old.name, new.name) for old, new in zip(written_inputs, inputs, strict=True)],
        [(old.name, new) for old, new in zip(written_outputs, new_outputs, strict=True)],
    )
    fix_shapes(onnx, inputs)
    _inputs, outputs = interface(onnx)
    tolerance = _tolerance(file, output_names)
    return SourceModel(
        onnx=onnx,
        framework=f"tensorflow lite {tf.__version__}",
        inputs=inputs,
        outputs=outputs,
        run=_runner(interpreter, input_names, output_names),
        tolerance=tolerance,
        why=_why(file),
    )


def _refuse_custom(path: Path, file: LiteFile) -> None:
    custom = [name for name in file.custom if name not in _WRITTEN_BY_TF2ONNX]
    if custom:
        raise UnsupportedModel(
            f"{path} uses operators that are not TensorFlow Lite's own: {', '.join(custom)}",
            hint='convert the SavedModel or Keras file that it was made from; there "Flex" operators are plain ones',
            details={"operators": custom},
        )


def _open(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            # it announces that it will move to a package of its own
            warnings.filterwarnings("ignore", message=r"\s*Warning: tf\.lite\.Interpreter is deprecated")
            interpreter = tf.lite.Interpreter(str(path), num_threads=1)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelError(
            f"{path} is a TensorFlow Lite model that TensorFlow {tf.__version__} cannot load: {first_line(error)}",
            hint="it may be damaged, or use operators of a newer version: convert it again",
        ) from error
    return interpreter


def _refuse_wide_activations(path: Path, interpreter: Any) -> None:
    details = interpreter.get_tensor_details()
    if any(d["dtype"] is np.int16 and d["quantization_parameters"]["scales"].size for d in details):
        raise UnsupportedModel(
            f"{path} has activations quantised to 16 bits, which ONNX before version 21 cannot say",
            hint="quantise activations to 8 bits, or convert the model it was made from",
        )


def _names(
    path: Path, file: LiteFile, interpreter: Any, wanted: str | None
) -> tuple[Mapping[int, str], Mapping[int, str]]:
    """Of the inputs and the outputs, by number of the tensor."""
    if file.signatures or wanted is not None:
        name = choose_signature(path, list(file.signatures), wanted, without="leave --signature out")
        chosen = file.signatures[name]
        if chosen.subgraph != 0:
            first = next((key for key, signature in file.signatures.items() if signature.subgraph == 0), None)
            raise UsageError(
                f"signature {name!r} of {path} is not in the file's main graph, which alone can be converted",
                hint=f"give the SavedModel it was made from{f', or --signature {first}' if first else ''}",
            )
        return _by_number(chosen.inputs), _by_number(chosen.outputs)
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    return {d["index"]: d["name"] for d in inputs}, {d["index"]: d["name"] for d in outputs}


def _by_number(numbers: Mapping[str, int]) -> dict[int, str]:
    return {number: name for name, number in numbers.items()}


def _shape(details: Mapping[str, Any]) -> list[int | None]:
    return [None if size < 0 else int(size) for size in details["shape_signature"]]


def _write_onnx(source: Path, path: Path) -> None:
    # tf2onnx reports through its log what the ONNX file then shows
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tf2onnx.convert.from_tflite(str(source), opset=OPSET, output_path=str(path))
    except (ValueError, KeyError, NotImplementedError, AttributeError) as error:
        raise UnsupportedModel(
            f"tf2onnx {tf2onnx.__version__} cannot write this as ONNX: {type(error).__name__}: {first_line(error)}",
            hint="convert the SavedModel or Keras file that it was made from",
        ) from error
    refuse_unknown_operators(path, hint="convert the SavedModel or Keras file that it was made from")


def _tolerance(file: LiteFile, output_names: Mapping[int, str]) -> dict[str, Tolerance]:
    if file.hybrid:
        return {name: Tolerance(max_rel=HYBRID_ERROR) for name in output_names.values()}
    return {
        name: Tolerance(max_abs=MAX_STEPS * file.steps[number])
        for number, name in output_names.items()
        if number in file.steps
    }


def _why(file: LiteFile) -> str:
    if file.hybrid:
        return (
            "the model's weights are quantised and TensorFlow Lite quantises activations as it runs, ONNX does not:"
            f" answers may differ by {HYBRID_ERROR:.0%} of the largest"
        )
    if file.steps:
        return f"the model is quantised: answers may differ by {MAX_STEPS} of the outputs' quantisation steps"
    return ""


def _runner(interpreter: Any, input_names: Mapping[int, str], output_names: Mapping[int, str]) -> Any:
    def run(arrays: Arrays) -> Arrays:
        for number, name in input_names.items():
            interpreter.resize_tensor_input(number, arrays[name].shape)
        interpreter.allocate_tensors()
        for number, name in input_names.items():
            interpreter.set_tensor(number, arrays[name])
        interpreter.invoke()
        return {name: np.array(interpreter.get_tensor(number)) for number, name in output_names.items()}

    return run

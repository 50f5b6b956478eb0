from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neo.contract.parity import Tolerance
from neo.errors import ModelError, UnsupportedModel, UsageError
from tests.frontends.conftest import Convert

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize("name", ["float", "float16"])
def test_a_float_model_answers_as_tensorflow_lite_does(
    tensorflow_models: Path, through_sandbox: Convert, name: str
) -> None:
    converted = through_sandbox(tensorflow_models / f"{name}.tflite")
    assert [spec.shape for spec in (*converted.inputs, *converted.outputs)] == [(1, 16, 16, 3), (1, 5)]
    assert converted.reference.startswith("tensorflow lite ")
    assert converted.tolerance is None
    assert converted.parity is not None
    assert converted.parity.max_rel <= 1e-4


def test_a_dynamic_batch_can_have_any_size(tensorflow_models: Path, through_sandbox: Convert) -> None:
    converted = through_sandbox(tensorflow_models / "float.tflite", dims={"N": 3})
    assert [spec.shape for spec in (*converted.inputs, *converted.outputs)] == [(3, 16, 16, 3), (3, 5)]


@pytest.mark.parametrize("name", ["int8", "uint8", "float_interface"])
def test_a_quantised_model_becomes_quantise_and_dequantise_within_steps_of_its_output(
    tensorflow_models: Path, through_sandbox: Convert, name: str
) -> None:
    import onnx

    converted = through_sandbox(tensorflow_models / f"{name}.tflite")
    step = 1 / 256 if name == "float_interface" else 1  # softmax is quantised to 256 steps from 0 to 1
    assert converted.tolerance == Tolerance(max_abs=16 * step)
    assert "16 of the outputs' quantisation steps" in converted.why
    assert converted.parity is not None
    assert converted.parity.max_abs <= 2 * step
    operators = {node.op_type for node in onnx.load(converted.onnx).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators
    if name != "float_interface":
        assert [spec.dtype for spec in (*converted.inputs, *converted.outputs)] == [name, name]
        images = np.stack([sample.inputs[converted.inputs[0].name] for sample in converted.samples])
        assert [images.min(), images.max()] == [np.iinfo(name).min, np.iinfo(name).max]


def test_integer_weights_under_float_activations_say_how_far_answers_may_differ(
    tensorflow_models: Path, through_sandbox: Convert
) -> None:
    converted = through_sandbox(tensorflow_models / "dynamic_range.tflite")
    assert converted.tolerance == Tolerance(max_rel=0.2)
    assert "answers may differ by 20% of the largest" in converted.why


def test_names_are_those_of_the_signature(tensorflow_models: Path, through_sandbox: Convert) -> None:
    converted = through_sandbox(tensorflow_models / "half.tflite")
    assert [str(spec) for spec in (*converted.inputs, *converted.outputs)] == [
        "x=float32[2,3]",
        "halved=float32[2,3]",
    ]


def test_a_signature_outside_the_main_graph_is_refused_with_the_one_that_is_in_it(
    tensorflow_models: Path, through_sandbox: Convert
) -> None:
    with pytest.raises(UsageError, match="not in the file's main graph") as caught:
        through_sandbox(tensorflow_models / "half_twice.tflite", signature="twice")
    assert "--signature half" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("custom", "not TensorFlow Lite's own: MatchingFiles"),
        ("flex", "not TensorFlow Lite's own: FlexSoftplus"),
        ("int16", "activations quantised to 16 bits"),
    ],
)
def test_what_onnx_cannot_say_is_named(tensorflow_models: Path, through_sandbox: Convert, name: str, says: str) -> None:
    with pytest.raises(UnsupportedModel, match=says):
        through_sandbox(tensorflow_models / f"{name}.tflite")


def test_a_file_cut_short_is_a_modelerror(tensorflow_models: Path, tmp_path: Path, through_sandbox: Convert) -> None:
    content = (tensorflow_models / "int8.tflite").read_bytes()
    (tmp_path / "cut.tflite").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=r"truncated or damaged|cannot load"):
        through_sandbox(tmp_path / "cut.tflite")

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from neo.errors import InputSpecError, ModelError, UnsupportedModel, UntrustedModel
from tests.frontends.conftest import Convert

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize("name", ["classifier.keras", "classifier.h5"])
def test_a_whole_model_answers_as_before_and_keeps_its_names(
    keras_models: Path, through_sandbox: Convert, name: str
) -> None:
    converted = through_sandbox(keras_models / name)
    assert [str(spec) for spec in (*converted.inputs, *converted.outputs)] == [
        "image=float32[1,8,8,3]",
        "probabilities=float32[1,5]",
    ]
    assert converted.framework.startswith("keras ")
    assert converted.parity is not None
    assert converted.parity.max_rel <= 1e-4
    for sample in converted.samples:
        assert sample.outputs["probabilities"].sum() == pytest.approx(1.0, abs=1e-5)


def test_inputs_and_outputs_of_a_dict_keep_their_keys(keras_models: Path, through_sandbox: Convert) -> None:
    converted = through_sandbox(keras_models / "two_inputs.keras", dims={"N": 2, "right_1": 7})
    assert {str(spec) for spec in converted.inputs} == {"left=float32[2,4]", "right=float32[2,7,6]"}
    assert {str(spec) for spec in converted.outputs} == {
        "z=float32[2,2]",
        "a_0=float32[2,3]",
        "a_1=float32[2,4]",
    }
    for sample in converted.samples:
        assert (sample.outputs["a_1"] == sample.inputs["left"]).all()


def test_a_dynamic_dimension_beyond_the_batch_needs_a_size(keras_models: Path, through_sandbox: Convert) -> None:
    with pytest.raises(InputSpecError, match="without a size: right_1 in right=") as caught:
        through_sandbox(keras_models / "two_inputs.keras")
    assert "--dim right_1=SIZE" in caught.value.hint


def test_channels_first_is_told_that_the_model_has_them_last(keras_models: Path, through_sandbox: Convert) -> None:
    with pytest.raises(InputSpecError) as caught:
        through_sandbox(keras_models / "classifier.keras", "image=float32[1,3,8,8]")
    assert "image=float32[N,8,8,3], which has the channels last" in caught.value.hint


@pytest.mark.parametrize("name", ["custom.keras", "custom.h5"])
def test_a_custom_layer_is_named(keras_models: Path, through_sandbox: Convert, name: str) -> None:
    with pytest.raises(UnsupportedModel, match="custom class 'Doubling'") as caught:
        through_sandbox(keras_models / name)
    assert "export('folder')" in caught.value.hint


@pytest.mark.parametrize("name", ["lambda.keras", "lambda.h5"])
def test_a_lambda_layer_needs_trust(keras_models: Path, through_sandbox: Convert, name: str) -> None:
    with pytest.raises(UntrustedModel, match="Lambda layer \\('twice'\\)"):
        through_sandbox(keras_models / name)


def test_a_trusted_lambda_layer_is_run(keras_models: Path, through_sandbox: Convert) -> None:
    converted = through_sandbox(keras_models / "lambda.keras", trust_pickle=True)
    for sample in converted.samples:
        assert (sample.outputs["twice"] == 2 * sample.inputs["x"]).all()


def test_a_class_of_another_module_is_not_imported(
    keras_models: Path, tmp_path: Path, through_sandbox: Convert
) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(keras_models / "classifier.keras") as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                config["config"]["layers"][1] |= {"module": "antigravity", "class_name": "Flight"}
                content = json.dumps(config).encode()
            new.writestr(name, content)
    with pytest.raises(UnsupportedModel, match="custom class"):
        through_sandbox(path)


KERAS_2 = Path(__file__).with_name("keras_2")


def test_an_h5_file_of_keras_2_answers_as_keras_2_did(keras_models: Path, through_sandbox: Convert) -> None:
    converted = through_sandbox(KERAS_2 / "layers.h5", golden=KERAS_2 / "layers.npz")
    assert [str(spec) for spec in (*converted.inputs, *converted.outputs)] == [
        "image=float32[1,8,8,3]",
        "scores=float32[1,5]",
    ]
    assert converted.reference == "golden file layers.npz"
    assert converted.parity is not None
    assert converted.parity.max_rel <= 1e-4


@pytest.mark.parametrize(
    ("name", "says", "hint"),
    [
        ("calls.h5", "calls a TensorFlow function between its layers", "tf_keras"),
        ("plain.keras", r"was written by Keras 2\.", "save it with Keras 2 as .h5"),
    ],
)
def test_what_keras_3_cannot_read_of_keras_2_says_what_to_do(
    keras_models: Path, through_sandbox: Convert, name: str, says: str, hint: str
) -> None:
    with pytest.raises(UnsupportedModel, match=says) as caught:
        through_sandbox(KERAS_2 / name)
    assert hint in caught.value.hint


def test_grouped_convolutions_and_exact_gelu_are_written_as_onnx(keras_models: Path, through_sandbox: Convert) -> None:
    converted = through_sandbox(keras_models / "convnext.keras")
    assert converted.parity is not None
    assert converted.parity.max_rel <= 1e-5


def test_a_network_of_keras_applications_answers_as_before(keras_models: Path, through_sandbox: Convert) -> None:
    converted = through_sandbox(keras_models / "mobilenet_v3.keras")
    assert converted.parity is not None
    assert converted.parity.max_rel <= 1e-4
    assert len({sample.outputs[converted.outputs[0].name].tobytes() for sample in converted.samples}) > 1


def test_weights_alone_are_refused_under_any_name(keras_models: Path, tmp_path: Path, through_sandbox: Convert) -> None:
    content = (keras_models / "classifier.weights.h5").read_bytes()
    for name in ("m.weights.h5", "m.h5"):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match="Keras weights without the model"):
        through_sandbox(tmp_path / "m.weights.h5")
    with pytest.raises(ModelError, match="Keras weights without the model"):
        through_sandbox(tmp_path / "m.h5")


@pytest.mark.parametrize("name", ["classifier.keras", "classifier.h5"])
def test_a_truncated_file_is_called_so(keras_models: Path, tmp_path: Path, through_sandbox: Convert, name: str) -> None:
    content = (keras_models / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match="truncated"):
        through_sandbox(tmp_path / name)

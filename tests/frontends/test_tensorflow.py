from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from neo.errors import ModelError, UnsupportedModel, UntrustedModel, UsageError
from tests.frontends.conftest import Convert

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize(
    ("flags", "dims", "input_", "output"),
    [
        ((), {}, "image=float32[1,8,8,3]", "output_0=float32[1,5]"),
        ((), {"N": 3}, "image=float32[3,8,8,3]", "output_0=float32[3,5]"),
        (("image=float32[B,8,8,3]",), {}, "image=float32[B,8,8,3]", "output_0=float32[B,5]"),
    ],
)
def test_a_savedmodel_answers_as_its_signature(
    keras_models: Path, through_sandbox: Convert, flags: tuple[str, ...], dims: dict[str, int], input_: str, output: str
) -> None:
    converted = through_sandbox(keras_models / "classifier", *flags, dims=dims)
    assert [str(converted.inputs[0]), str(converted.outputs[0])] == [input_, output]
    assert converted.framework.startswith("tensorflow ")
    assert converted.parity is not None
    assert converted.parity.max_rel <= 1e-4


def test_a_lone_signature_of_another_name_will_do(keras_models: Path, through_sandbox: Convert) -> None:
    converted = through_sandbox(keras_models / "one_signature")
    for sample in converted.samples:
        assert (sample.outputs["y"] == 2 * sample.inputs["x"]).all()


def test_without_a_signature_the_hint_says_how_to_save_one(keras_models: Path, through_sandbox: Convert) -> None:
    with pytest.raises(ModelError, match="has no signature") as caught:
        through_sandbox(keras_models / "without_signature")
    assert "tf.saved_model.save" in caught.value.hint


def test_of_several_signatures_the_user_chooses(keras_models: Path, through_sandbox: Convert) -> None:
    with pytest.raises(ModelError, match="none is called serving_default: a, b") as caught:
        through_sandbox(keras_models / "two_signatures")
    assert "--signature a" in caught.value.hint
    with pytest.raises(UsageError, match="no signature 'c'") as wrong:
        through_sandbox(keras_models / "two_signatures", signature="c")
    assert "a, b" in wrong.value.hint
    converted = through_sandbox(keras_models / "two_signatures", signature="a")
    assert [spec.name for spec in converted.outputs] == ["y"]


def test_inputs_and_outputs_of_a_signature_keep_names_dynamic_sizes_and_an_order(
    tensorflow_models: Path, through_sandbox: Convert
) -> None:
    converted = through_sandbox(tensorflow_models / "attention", "tokens=float32[B,T,4]", "a_query=float32[B,4]")
    assert [str(spec) for spec in converted.inputs] == ["a_query=float32[B,4]", "tokens=float32[B,T,4]"]
    assert [spec.name for spec in converted.outputs] == ["answer", "best", "scores"]
    assert converted.parity is not None
    assert converted.parity.max_rel <= 1e-4


def test_fixed_inputs_fix_the_outputs(tensorflow_models: Path, through_sandbox: Convert) -> None:
    converted = through_sandbox(tensorflow_models / "attention", dims={"tokens_1": 5})
    assert [str(spec) for spec in converted.outputs] == [
        "answer=float32[1,4]",
        "best=int64[1]",
        "scores=float32[1,5]",
    ]


def test_what_is_marked_for_xla_is_inlined(tensorflow_models: Path, through_sandbox: Convert) -> None:
    converted = through_sandbox(tensorflow_models / "compiled")
    for sample in converted.samples:
        for number in range(12):
            assert sample.outputs[f"y{number:02}"] == pytest.approx(sample.outputs["y01"] * number, rel=1e-5)


@pytest.mark.parametrize(
    ("signature", "outputs"),
    [(None, {"probabilities=float32[1,4]", "classes=int64[1]"}), ("features", {"features=float32[1,8,8,4]"})],
)
def test_a_savedmodel_of_tensorflow_1_is_read_with_the_signature_asked_for(
    tensorflow_models: Path, through_sandbox: Convert, signature: str | None, outputs: set[str]
) -> None:
    converted = through_sandbox(tensorflow_models / "tensorflow_1", signature=signature)
    assert [str(spec) for spec in converted.inputs] == ["images=float32[1,8,8,3]"]
    assert {str(spec) for spec in converted.outputs} == outputs
    assert converted.parity is not None
    assert converted.parity.max_rel <= 1e-4


@pytest.mark.parametrize(
    ("name", "operator"), [("reads", "ReadFile"), ("saves", "SaveV2"), ("saves_when_loaded", "SaveV2")]
)
def test_a_savedmodel_that_reaches_files_is_refused_before_it_does(
    tensorflow_models: Path, through_sandbox: Convert, name: str, operator: str
) -> None:
    with pytest.raises(UntrustedModel, match=f"has the operator {operator}"):
        through_sandbox(tensorflow_models / name)
    assert not list(tensorflow_models.glob("written*"))


def test_an_operator_without_equivalent_is_named(keras_models: Path, through_sandbox: Convert) -> None:
    with pytest.raises(UnsupportedModel, match=r"operator BesselI0 \(node '.*bessel_i0.*'\)"):
        through_sandbox(keras_models / "bessel")


def test_a_checkpoint_is_no_savedmodel(keras_models: Path, through_sandbox: Convert) -> None:
    with pytest.raises(ModelError, match="is a TensorFlow checkpoint"):
        through_sandbox(keras_models / "checkpoint")


@pytest.mark.parametrize("name", ["saved_model.pb", "variables/variables.data-00000-of-00001"])
def test_a_truncated_part_is_a_modelerror(
    keras_models: Path, tmp_path: Path, through_sandbox: Convert, name: str
) -> None:
    folder = tmp_path / "m"
    shutil.copytree(keras_models / "classifier", folder)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=r"that TensorFlow .* cannot load") as caught:
        through_sandbox(folder)
    assert "saved_model.pb and variables/ belong together" in caught.value.hint

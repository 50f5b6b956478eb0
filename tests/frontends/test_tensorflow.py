from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from neo.errors import ModelError, UnsupportedModel
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


@pytest.mark.parametrize(
    ("name", "says"),
    [("without_signature", "has no signature"), ("two_signatures", "none is called serving_default: a, b")],
)
def test_without_a_clear_signature_the_choice_is_the_users(
    keras_models: Path, through_sandbox: Convert, name: str, says: str
) -> None:
    with pytest.raises(ModelError, match=says) as caught:
        through_sandbox(keras_models / name)
    assert "tf.saved_model.save" in caught.value.hint


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

from __future__ import annotations

from pathlib import Path

import pytest

from neo.errors import InputSpecError, ModelError, NeoError, UntrustedModel, UsageError
from tests.frontends.conftest import Convert

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_frozen_graph_with_one_end_needs_no_names(tensorflow_models: Path, through_sandbox: Convert) -> None:
    converted = through_sandbox(tensorflow_models / "one_end.pb")
    # what has a default value is no input
    assert [str(spec) for spec in (*converted.inputs, *converted.outputs)] == [
        "images=float32[1,8,8,3]",
        "classes=int64[1]",
    ]


def test_outputs_are_the_tensors_named(tensorflow_models: Path, through_sandbox: Convert) -> None:
    converted = through_sandbox(tensorflow_models / "frozen.pb", outputs=("probabilities", "features:0"), dims={"N": 2})
    assert [str(spec) for spec in converted.outputs] == ["probabilities=float32[2,4]", "features:0=float32[2,8,8,4]"]
    assert converted.parity is not None
    assert converted.parity.max_rel <= 1e-4


def test_a_tensor_inside_the_graph_can_be_fed_in_place_of_what_makes_it(
    tensorflow_models: Path, through_sandbox: Convert
) -> None:
    converted = through_sandbox(tensorflow_models / "frozen.pb", "pooled=float32[3,4]", outputs=("classes",))
    assert [str(spec) for spec in converted.inputs] == ["pooled=float32[3,4]"]
    for sample in converted.samples:
        assert (sample.outputs["classes"] == sample.inputs["pooled"].argmax(1)).all()


@pytest.mark.parametrize(
    ("name", "inputs", "outputs", "kind", "says", "hint"),
    [
        ("frozen.pb", (), (), UsageError, "no other node reads: classes, roots", "--outputs "),
        ("frozen.pb", (), ("prob",), UsageError, "names 'prob', which is no node", "near to it are: probabilities"),
        ("frozen.pb", ("y=float32[1]",), ("classes",), InputSpecError, "'y', which is no node", "are: images"),
        ("not_frozen.pb", (), ("classes",), ModelError, "not frozen: the values of 1 variables", "SavedModel"),
        ("unranked.pb", (), (), InputSpecError, "how many dimensions its input 'x' has", "--input x=float32["),
    ],
)
def test_what_the_user_has_to_say_is_said(
    tensorflow_models: Path,
    through_sandbox: Convert,
    name: str,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    kind: type[NeoError],
    says: str,
    hint: str,
) -> None:
    with pytest.raises(kind, match=says) as caught:
        through_sandbox(tensorflow_models / name, *inputs, outputs=outputs)
    assert hint in caught.value.hint


def test_a_graph_that_reads_files_is_refused_unless_that_part_is_cut_off(
    tensorflow_models: Path, through_sandbox: Convert
) -> None:
    with pytest.raises(UntrustedModel, match=r"has the operator ReadFile \(node 'ReadFile'\), which reads or writes"):
        through_sandbox(tensorflow_models / "reads.pb")
    converted = through_sandbox(tensorflow_models / "reads.pb", "Cast=float32[]")
    for sample in converted.samples:
        assert sample.outputs["y"] == sample.inputs["x"] + sample.inputs["Cast"]
